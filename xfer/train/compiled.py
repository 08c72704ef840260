"""torch.compile's cache, and what torch says of models that it can't compile or repeat."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from xfer.fetch import cache_folder, others_write


def keep_compiled() -> None:
    """Has torch.compile keep its code in our cache. By default that is in a folder of /tmp with the
    user's name, which somebody else may have made first, and code in it is run."""
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        safe = not others_write(folder) and os.access(folder, os.W_OK)
    except OSError:
        safe = False
    place = folder if safe else Path(tempfile.mkdtemp(prefix="xfer-compiled-"))
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(place)


def is_order_error(error: BaseException) -> bool:
    """Whether an operation has no version that gives equal bits each time; see `placed`."""
    return "does not have a deterministic implementation" in str(error)


def is_compiler_error(error: BaseException) -> bool:
    """Whether torch.compile failed, as it does without a C++ compiler."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
