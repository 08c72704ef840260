"""A fitted probe on its net, as a task for `xfer predict`, `xfer eval` and `xfer.load`."""

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
from xfer.errors import DataError, XferError, whole
from xfer.extraction.form import Form
from xfer.extraction.meta import check_meta
from xfer.extraction.net import Choice, FeatureNet, fixed_options, load_net
from xfer.probing.fit import Probe
from xfer.probing.store import load_probe
from xfer.recipe.tables import DataTable
from xfer.task import Stage, Task
from xfer.types import Batch, ClassPrediction, DataInfo, Preprocess, Sample


@dataclass(frozen=True, slots=True)
class NoOptions:
    """A probe has no options: it is already fitted."""


class ProbeTask(Task):
    """Pictures to probabilities: the net's features, in the form that the probe was fitted to.

    Reads, scores and describes pictures like the task classify; it can't be trained by steps.

    Args:
        net: computes the features; form: their normalisation and dtype; layer: which one.
        probe: scaler and classifiers; info: kind and classes.
        data_kind: kind of the data of the features; if detect, the boxes' classes are labels.
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
        """The way pictures are cut, for the protocol."""
        preprocess, choice = self.preprocess, self.net.choice
        return (
            f"features of {choice.crops} crops ({choice.views}), {preprocess.size} px "
            f"from short side {preprocess.resize} px"
        )

    def transform(
        self, train: bool, tta: str = "none"
    ) -> Callable[[Sample, np.random.Generator], Any]:
        if tta != "none":
            raise XferError(
                f"--tta {tta}: a probe needs the crops that its features were made with",
                "xfer features --crops flip, then fit a probe on these",
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
        """Probabilities per picture."""
        # the net has its own precision, that of the probe's features
        with torch.autocast(batch.images.device.type, enabled=False):
            rows = self.form(self.net(batch.images)[self.layer])
        scores = self.probe.probabilities(rows)
        return [ClassPrediction(i, row) for i, row in zip(batch.ids, scores, strict=True)]

    def metric(self) -> Any:
        return self._like.metric(self)

    def stages(self) -> list[Stage]:
        return []


def load_task(run: Path | str, device: str = "auto") -> ProbeTask:
    """Loads the probe of a run folder on its net, in eval mode.

    Raises: XferError if the folder has no probe; DataError if its files are damaged, or
        the net's weights are missing or have changed.
    """
    probe, about = load_probe(run)
    file = Path(run) / "model.json"
    with whole(file, "not the model of a probe"):
        meta = check_meta(file, about["features"], net=True)
        choice = Choice(
            meta["backbone"], about["weights"], (about["layer"],), meta["pool"], meta["crops"],
            meta["views"], meta["preprocess"]["size"], device, meta["precision"],
            fixed_options(meta["options"]),
        )  # fmt: skip
        form = Form(meta["dtype"], meta["normalise"])
        choice.check()
        form.check()
        wanted, data_kind = str(meta["weights"]["file_sha256"]), str(meta["data"]["kind"])
        info = DataInfo("", about["kind"], tuple(about["classes"]))
    with plugs.reading(file):
        net = load_net(choice)
    if net.report.digest != wanted:
        raise DataError(
            f"{about['weights']} is not the file that the probe's features were made with",
            f"put the file with sha256 {wanted[:16]}... there",
        )
    task = ProbeTask(net, form, about["layer"], probe, info, data_kind)
    return task.eval()
