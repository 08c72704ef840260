"""`python -m xfer` is the command line."""

import sys
from pathlib import Path

# `python -m` searches the current folder first: a torch.py among somebody's pictures would run
if not sys.flags.safe_path and sys.path:
    _here = Path(sys.path[0]).resolve()
    if _here == Path().resolve() != Path(__file__).resolve().parent.parent:
        del sys.path[0]

from xfer.cli.app import main

sys.exit(main())
