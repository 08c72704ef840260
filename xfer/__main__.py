"""`python -m xfer` is the command line."""

import sys

from xfer.cli import main

sys.exit(main())
