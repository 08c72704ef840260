"""Scores a run again: on its own data, or on other pictures of the same classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfer import plugs
from xfer.device import Place, placed, usable_precision
from xfer.errors import XferError
from xfer.inference.score import score, view_protocol
from xfer.inference.scored import open_scored
from xfer.metrics.calibration import Calibration, calibration_of
from xfer.metrics.interval import interval_of
from xfer.notebook.results import Evaluation
from xfer.runs.folder import Run
from xfer.runs.model_file import read_model, write_model
from xfer.runs.shared import check_same_data, check_same_run
from xfer.task import Task

if TYPE_CHECKING:
    from xfer.data.loading.loader import Loader
    from xfer.recipe.tables import Recipe
    from xfer.types import Source


@plugs.face("data")
def evaluate(
    run: Path | str,
    *,
    data: Any = "",
    split: str = "",
    tta: str = "",
    model: Path | str = "",
    precision: str = "",
    batch: int = 0,
    device: str = "auto",
    workers: int = -1,
    skip_bad: bool = False,
    verify: bool = True,
    calibrate: bool = False,
    data_keys: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Scores a run's best weights, on its own data or on other pictures of the same classes.

    The run's own val is that of its split.json, as far as it is still there, also if the data have
    grown since: see `xfer.inference.scored`.

    Args:
        run: the run folder; data: a spec, or data in memory as for `finetune`; the run's own by
            default.
        split: by default val, or test if there is no val; tta: one of the task's views, the run's
            own by default; batch: pictures at a time.
        model: an ONNX file of the run, see `xfer.export`, whose predictions are scored instead: on
            the CPU, in float32 or as the file was made, from one view.
        precision: fp32, bf16 or fp16; the run's own by default.
        skip_bad: leave out pictures that can't be decoded, and list them under "skipped".
        verify: compare the checksums of packs and kept indexes.
        calibrate: fit a temperature to the run's own val and write it to its model.json, for
            `predict(calibrated=True)`; runs of this version have one.
        data_keys: images, ignore, path, label, split, changes for `data`, as in `open_data`.
        trust: your own modules that the run may import.
        say: called with lines about the pictures; by default those that warn are Python warnings.

    Returns: {"split", "images", "primary", "metrics", "protocol", ...}, fractions in 0..1;
        "calibration": see `xfer.metrics.calibration`, where probabilities of classes are scored;
        "interval": {"low", "high", "method"} of the primary score, absent if it has none;
        "trained_on": how many of the pictures were trained on, None if that can't be told;
        "changes": {"gone", "new", "moved", "changed", "relabelled"}: how many; "notes": lines.
    Raises: XferError for a folder that is not a run, DataError for data that don't fit.
    """
    from xfer.inference.model import load

    folder = Run.open(Path(run))
    recipe = folder.recipe()
    if calibrate and (data or model or split not in ("", "val")):
        raise XferError(
            "a temperature is fitted to the run's own val", "leave out --data, --model, --split"
        )
    device, precision = _where(str(model), device, precision, recipe)
    with placed(device, precision) as place:
        check_same_run(folder, place)
        task = load(folder.path, place=place).task
        tta = tta or ("none" if model else recipe.eval.tta)
        if model:
            from xfer.exporting.opened import through

            task = through(task, model)
        scored = open_scored(folder, task, data, split, data_keys, skip_bad, verify)
        if calibrate and scored.role != "val":
            raise XferError(f"{folder.path}: it has no val split to fit a temperature to")
        own = scored.source.fingerprint() if place.world > 1 else ""
        check_same_data(str(data) if isinstance(data, str) else "the data", own, place)
        tell(scored.notes, say)
        loader = eval_loader(recipe, task, scored.source, place, tta, batch=batch, workers=workers)
        metric = score(task, loader, place, tta, say=lambda line: tell([line], say))
        interval, calibration = interval_of(metric), calibration_of(metric)
        if calibrate:
            _write_temperature(folder, task, calibration, place)
        return Evaluation({
            "run": str(folder.path),
            **({"model": str(model)} if model else {}),
            **scored.document(),
            "primary": metric.primary,
            "metrics": metric.compute(),
            **({} if interval is None else {"interval": interval.document()}),
            **({} if calibration is None else {"calibration": calibration.document()}),
            "protocol": {**metric.protocol(), **view_protocol(task, tta)},
        })  # fmt: skip


def _where(model: str, device: str, precision: str, recipe: Recipe) -> tuple[str, str]:
    """The device and the precision to score in. Raises XferError for those that a file has not."""
    if not model:
        return device, precision or usable_precision(recipe.run.precision, device)
    if device not in ("auto", "cpu"):
        raise XferError(f"--device {device}: a file is scored on the CPU", "leave out --device")
    if precision not in ("", "fp32"):
        raise XferError(
            f"--precision {precision}: a file computes as it was made", "leave out --precision"
        )
    return "cpu", "fp32"


def _write_temperature(
    folder: Run, task: Task, calibration: Calibration | None, place: Place
) -> None:
    """Writes a fitted temperature to model.json. Raises XferError if there is none to write."""
    if hasattr(task, "probe"):
        raise XferError(f"{folder.path}: a probe's probabilities are calibrated already")
    task.kind.check_calibrated()
    if calibration is None:
        raise XferError(f"{folder.path}: its task keeps no probabilities to calibrate")
    if place.main:
        with folder.writing():
            about = {**read_model(folder), "temperature": calibration.temperature}
            write_model(folder, about)


def tell(notes: Sequence[str], say: Callable[[str], None] | None) -> None:
    """Says what there is to say about the scored pictures; without `say`, only what warns."""
    for line in notes:
        if say is not None:
            say(line)
        elif line.startswith("warning: "):
            # the caller of a public function: past this one, that function and its decorator
            warnings.warn(line.removeprefix("warning: "), RuntimeWarning, stacklevel=4)


def eval_loader(
    recipe: Recipe,
    task: Task,
    source: Source,
    place: Place,
    tta: str,
    *,
    batch: int = 0,
    workers: int = -1,
) -> Loader:
    """Batches of a source for `task.predict`. Raises XferError for unknown views."""
    from xfer.data.loading.loader import Loader

    task.check_views(tta)
    task.prepare(source)
    views = 10 if tta == "10crop" else 1
    size = batch or recipe.eval.batch or 2 * recipe.data.batch
    return Loader(
        source, task.transform(False, tta), task.collate, batch=max(place.world, size // views),
        train=False, workers=workers, rank=place.rank, world=place.world,
        short_side=task.short_side,
    )  # fmt: skip
