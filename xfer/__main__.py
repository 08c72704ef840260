"""`python -m xfer` is the command line."""

import sys

from xfer.cli.app import main

sys.exit(main())
