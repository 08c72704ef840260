"""The commands that train, called from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.errors import XferError
from xfer.recipe.choose import build_recipe
from xfer.train.loop import Summary, fit


@plugs.face("data", "task", "settings")
def finetune(data: Any = "", task: str = "", *, out: Any = None, recipe: str = "",
             verbosity: int = 0, overwrite: bool = False, resume: Any = None,
             trust: str | Sequence[str] = (), **settings: Any) -> Summary:  # fmt: skip
    """`xfer finetune` from Python: flags are arguments, `a__b=value` sets the recipe's a.b.

    Args:
        data: a spec: NAME, PATH or FORMAT:PATH; the recipe's own when left out.
        task: classify, ...; found from the data when left out.
        out, recipe, overwrite, resume: as on the command line; resume goes with verbosity alone.
        trust: modules of one's own that the recipe or the run may import; what data, task and
            backbone name here is trusted without.
        settings: epochs=20, backbone="alexnet", optim__ema=0.98, ...

    Returns: the run: `.result`, `.path`, `.predict(images)`.
    """
    if resume is not None:
        if data or task or out or recipe or overwrite or settings:
            raise XferError("resume goes on by the run's own recipe", "xfer.finetune(resume=RUN)")
        return fit(resume=Path(resume), verbosity=verbosity)
    built = build_recipe(str(data), task, recipe, settings)
    return fit(built, Path(out) if out else None, overwrite=overwrite, verbosity=verbosity)


@plugs.face("data", "settings")
def pretrain(name: str, data: Any = "", *, out: Any = None, verbosity: int = 0,
             overwrite: bool = False, trust: str | Sequence[str] = (),
             **settings: Any) -> Summary:  # fmt: skip
    """`xfer pretrain NAME` from Python: the recipe pretrain/NAME; see `finetune`."""
    built = build_recipe(str(data), "", f"pretrain/{name}", settings)
    return fit(built, Path(out) if out else None, overwrite=overwrite, verbosity=verbosity)
