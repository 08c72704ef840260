"""A fitted probe on its net, as a task: what `xfer predict`, `xfer eval` and `xfer.load` use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xfer import kinds, plugs
from xfer import task as tasks
from xfer.errors import DataError, XferError
from xfer.extraction.extract import Form
from xfer.extraction.net import Choice, FeatureNet, fixed_options, load_net
from xfer.probing.fit import Probe
from xfer.probing.store import load_probe
from xfer.recipe.tables import DataTable
from xfer.task import Stage, Task
from xfer.types import Batch, ClassPrediction, DataInfo, Preprocess, Sample


@dataclass(frozen=True, slots=True)
class NoOptions:
    """A probe has nothing to set: it is fitted already."""


class ProbeTask(Task):
    """Pictures to probabilities: the net's features, in the form that the probe was fitted to.

    Reads, counts and describes pictures as the task classify does; it can't be trained by steps.

    Args:
        net: gives the features; form: their normalisation and dtype; layer: which.
        probe: scaler and classifiers; info: kind and classes.
        data_kind: of the data that the features are of: of boxes, detect, the classes are labels.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classify", "multilabel")
    Options: ClassVar[type[Any]] = NoOptions

    def __init__(
        self, net: FeatureNet, form: Form, layer: str, probe: Probe, info: DataInfo,
        data_kind: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(net.net, info, NoOptions(), DataTable(size=net.preprocess.size))
        self.net, self.form, self.layer, self.probe = net, form, layer, probe
        self.data_kind = data_kind or info.kind
        self.multilabel = kinds.get(info.kind).several
        self._like = tasks.get(tasks.for_kind(info.kind))

    @property
    def preprocess(self) -> Preprocess:
        return self.net.preprocess

    @property
    def short_side(self) -> int:
        return self.net.short_side  # as features are extracted

    @property
    def view_words(self) -> str:
        """How pictures are cut, for the protocol."""
        own = self.preprocess
        return (
            f"features of {self.net.choice.crops} crops ({self.net.choice.views}), {own.size} px "
            f"from short side {own.resize} px"
        )

    def transform(
        self, train: bool, tta: str = "none"
    ) -> Callable[[Sample, np.random.Generator], Any]:
        if tta != "none":
            raise XferError(
                f"--tta {tta}: a probe reads the crops that its features were made with",
                "xfer features --crops flip, then a probe on these",
            )
        cut = self.net.transform()

        def item(sample: Sample, rng: np.random.Generator) -> Any:
            return sample.id, cut(sample.image, rng), sample.label

        return item

    def collate(self, items: list[Any]) -> Batch:
        return self._like.collate(self, items)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        raise XferError("a probe is fitted to features, not trained by steps", "xfer probe FILE")

    def predict(self, batch: Batch, tta: str = "none") -> list[ClassPrediction]:
        """Probabilities a picture."""
        # the net has its own precision, the one that the probe's features were made in
        with torch.autocast(batch.images.device.type, enabled=False):
            rows = self.form(self.net(batch.images)[self.layer])
        scores = self.probe.probabilities(rows)
        return [ClassPrediction(i, row) for i, row in zip(batch.ids, scores, strict=True)]

    def metric(self) -> Any:
        return self._like.metric(self)

    def stages(self) -> list[Stage]:
        return []


def load_task(run: Path | str, device: str = "auto") -> ProbeTask:
    """The probe of a run folder on its net, in eval mode.

    Raises: XferError where the folder holds no probe; DataError where its files are damaged, or
        the net's weights are missing or have changed.
    """
    probe, about = load_probe(run)
    made: dict[str, Any] = about["features"]
    choice = Choice(
        made["backbone"], about["weights"], (about["layer"],), made["pool"], made["crops"],
        made["views"], made["preprocess"]["size"], device, made["precision"],
        fixed_options(made["options"]),
    )  # fmt: skip
    with plugs.reading(Path(run) / "model.json"):
        net = load_net(choice)
    wanted = made["weights"]["file_sha256"]
    if net.report.digest != wanted:
        raise DataError(
            f"{about['weights']} is not what the probe's features were made with",
            f"put the file with sha256 {wanted[:16]}... there",
        )
    info = DataInfo("", about["kind"], tuple(about["classes"]))
    form = Form(made["dtype"], made["normalise"])
    task = ProbeTask(net, form, about["layer"], probe, info, made["data"]["kind"])
    return task.eval()
