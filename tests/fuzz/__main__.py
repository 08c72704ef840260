"""`python tests/fuzz`: see the docstring of the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# one thread: children are forked, and two of them may run at once
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# the package is called fuzz and lies beside the tests, whose miniatures it uses
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from fuzz.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
