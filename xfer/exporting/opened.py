"""An exported file in place of a run's net: scored by `xfer eval`, predicting, served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from xfer import plugs
from xfer.device import Place, find_device, find_precision
from xfer.errors import DataError, XferError, whole
from xfer.exporting.contract import Exportable, Run, exportable
from xfer.exporting.metadata import choices_of
from xfer.exporting.onnx_file import OnnxRunner
from xfer.inference.model import Model
from xfer.runs.model_file import check_model, rebuild
from xfer.runs.undrawn import Undrawn
from xfer.task import Task
from xfer.types import Batch


class ThroughFile:
    """A task whose predictions are a file's; reading, cutting and scoring stay the task's own.

    Args: task: in eval mode; net: its `exportable`, as the file was made from; run: the
        file at work.
    """

    def __init__(self, task: Task, net: Exportable, run: Run) -> None:
        self._task, self._net, self._run = task, net, run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def check_views(self, *names: str) -> None:
        """Raises XferError for more than one view of a picture: a file sees one."""
        for name in names:
            if name != "none":
                raise XferError(f"--tta {name}: an exported file sees one view", "--tta none")

    @torch.no_grad()
    def predict(self, batch: Batch, tta: str = "none") -> list[Any]:
        self.check_views(tta)
        return self._net.predict(self._run, batch)


def through(task: Task, file: Path | str) -> Task:
    """The task of a run, predicting through an exported file of the same run or of one like it.

    Raises: DataError for a file of another task or other classes, and as `OnnxRunner` does.
    """
    run = OnnxRunner(file)
    return _through(task, run)


def _through(task: Task, run: OnnxRunner) -> Task:
    about, file = run.about, run.file
    if about["kind"] != task.info.kind or tuple(about["classes"]) != task.info.classes:
        raise DataError(
            f"{file}: of another run ({about['kind']}, {len(about['classes'])} classes), not of "
            f"this one ({task.info.kind}, {len(task.info.classes)} classes)",
            "xfer export RUN -o FILE.onnx",
        )
    net = exportable(task, choices_of(file, about))
    if list(net.inputs) != about["inputs"] or list(net.outputs) != about["outputs"]:
        raise DataError(f"{file}: of another task than the run's", "export it again")
    return cast(Task, ThroughFile(task, net, run))


class OnnxModel(Model):
    """A model that predicts through an ONNX file; `task` is the run's own, rebuilt from the file's
    metadata, but for its net. Predicts as `xfer.load(RUN)` does, from one view."""


def load_onnx(file: Path | str, *, trust: str | Sequence[str] = ()) -> OnnxModel:
    """The model of an ONNX file that `xfer export` wrote; the run is not needed.

    Args: trust: your own modules that the file may import: its backbone's or its task's.

    Raises: XferError if ONNX Runtime is not installed, and for a module that is missing or not
        trusted; DataError for a file that is damaged or was not written by `xfer export`.
    """
    with plugs.naming(trust=trust):
        run = OnnxRunner(file)
        about = run.about["model"]
        with whole(file):
            check_model(file, about)
            with Undrawn():
                task = rebuild(file, about).eval()
        ids = tuple(about.get("category_ids", ()))
        place = Place(find_device("cpu"), find_precision("fp32", find_device("cpu")))
        return OnnxModel(_through(task, run), place, "none", None, ids)
