"""The commands that train, called from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.errors import XferError, nearest
from xfer.exit_codes import is_main
from xfer.recipe import words
from xfer.recipe.choose import prepare
from xfer.recipe.tables import FIELDS, FLAGS, TABLES
from xfer.train.loop import Summary, fit
from xfer.train.progress import Progress


@plugs.face("data", "task", "settings")
def finetune(data: Any = "", task: str = "", *, out: Any = None, recipe: str = "",
             verbosity: int = 0, overwrite: bool = False, resume: Any = None,
             trust: str | Sequence[str] = (), **settings: Any) -> Summary:  # fmt: skip
    """`xfer finetune` from Python: flags are arguments, and `a__b=value` sets the recipe's a.b.

    Args:
        data: a spec: NAME, PATH or FORMAT:PATH; the recipe's own by default. Or data in memory:
            [(picture, label), ...], (images, labels), a torchvision-style data set, a Source, or a
            dict of these by split.
        task: classify, ...; inferred from the data by default.
        out, recipe, overwrite, resume: as on the command line. With `resume`, only verbosity and
            trust may be given, and `data` if the run's data were in memory: pass the same data.
        trust: your own modules that the recipe or the run may import; modules named in data, task
            or backbone here need no trust.
        settings: epochs=20, backbone="alexnet", optim__ema=0.98, ...

    Returns: the run: `.result`, `.path`, `.predict(images)`.
    """
    data = "" if data is None else data
    in_memory = not isinstance(data, (str, os.PathLike))
    if resume is not None:
        if (data and not in_memory) or task or out or recipe or overwrite or settings:
            raise XferError("resume uses the run's own recipe", "xfer.finetune(resume=RUN)")
        return fit(resume=Path(resume), data=data if in_memory else None, verbosity=verbosity)
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
    _check_settings(settings)
    full_recipe, opened = prepare(data, task, recipe, settings)
    folder = Path(out) if out else None
    run = fit(full_recipe, folder, data=opened, overwrite=overwrite, verbosity=verbosity)
    if is_main():
        show = Progress(verbosity)
        for line in (run.line(), *run.closing()):
            show.say(line)
    return run


def _check_settings(settings: dict[str, Any]) -> None:
    """Raises XferError for a word or a value of another tool: model=, weights=None, freeze=True."""
    for name, value in settings.items():
        key = FLAGS.get(name, name.replace("__", "."))
        if not isinstance(value, str) and words.right_value(key, value) is not None:
            raise XferError(f"{name}={value!r} is not clear", words.value_hint(key, value, name))
        if name not in FLAGS and key not in FIELDS and "." not in key and key not in TABLES:
            known = [*FLAGS, "data", "task", "out", "recipe", "overwrite", "resume"]
            hint = words.argument_hint(name, FLAGS, known) or nearest(name, known, len(known))
            raise XferError(f"finetune has no argument {name!r}", hint)
