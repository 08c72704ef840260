"""The commands that train, called from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.errors import XferError
from xfer.recipe.choose import prepare
from xfer.train.loop import Summary, fit


@plugs.face("data", "task", "settings")
def finetune(data: Any = "", task: str = "", *, out: Any = None, recipe: str = "",
             verbosity: int = 0, overwrite: bool = False, resume: Any = None,
             trust: str | Sequence[str] = (), **settings: Any) -> Summary:  # fmt: skip
    """`xfer finetune` from Python: flags are arguments, `a__b=value` sets the recipe's a.b.

    Args:
        data: a spec: NAME, PATH or FORMAT:PATH; the recipe's own when left out. Or data in memory:
            [(picture, label), ...], (images, labels), a data set of torchvision's kind, a Source,
            or a dict of these by split.
        task: classify, ...; found from the data when left out.
        out, recipe, overwrite, resume: as on the command line; resume goes with verbosity and
            trust alone, and with `data` where those of the run were in memory: the same again.
        trust: modules of one's own that the recipe or the run may import; what data, task and
            backbone name here is trusted without.
        settings: epochs=20, backbone="alexnet", optim__ema=0.98, ...

    Returns: the run: `.result`, `.path`, `.predict(images)`.
    """
    data = "" if data is None else data
    given = not isinstance(data, (str, os.PathLike))
    if resume is not None:
        if (data and not given) or task or out or recipe or overwrite or settings:
            raise XferError("resume goes on by the run's own recipe", "xfer.finetune(resume=RUN)")
        return fit(resume=Path(resume), data=data if given else None, verbosity=verbosity)
    return _train(data, task, recipe, out, overwrite, verbosity, settings)


@plugs.face("data", "settings")
def pretrain(name: str, data: Any = "", *, out: Any = None, verbosity: int = 0,
             overwrite: bool = False, trust: str | Sequence[str] = (),
             **settings: Any) -> Summary:  # fmt: skip
    """`xfer pretrain NAME` from Python: the recipe pretrain/NAME; see `finetune`."""
    return _train(data, "", f"pretrain/{name}", out, overwrite, verbosity, settings)


def _train(
    data: Any, task: str, recipe: str, out: Any, overwrite: bool, verbosity: int,
    settings: dict[str, Any],
) -> Summary:  # fmt: skip
    built, read = prepare(data, task, recipe, settings)
    folder = Path(out) if out else None
    return fit(built, folder, data=read, overwrite=overwrite, verbosity=verbosity)
