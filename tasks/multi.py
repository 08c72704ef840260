"""Several tasks on one backbone: each is a head that reads the maps it needs, all from one pass.

A head is a task as it is alone, made on a view of the shared backbone (`xfer.heads.trunk`), with
its own options, loss, metric and predictions. The head whose truth is in pixels cuts the pictures;
what is known of whole pictures holds for any cut of them. The loss is the weighted sum of the
heads' losses, each under its head's name.

The path of a training batch, step by step, with the file under xfer/ for each step:

    a sample of a joint kind, "classify+segment"  | Together         data/together.py
    the picture cut by one head                   | its transform
    each head's targets under its name            | joined           heads/batches.py
    the union of the heads' maps, in one pass     | SharedTrunk      heads/trunk.py
    each head's losses, weighted                  | Multi.forward

At test: pictures of one size at a time, without padding (`alike`); `HeadsMetric` (heads/metric.py)
scores each head by its own metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from xfer import task as tasks
from xfer.data.together import Together, joint_kind, part_of
from xfer.errors import XferError
from xfer.heads import options as own
from xfer.heads.batches import alike, joined, of_head
from xfer.heads.metric import HeadsMetric
from xfer.heads.trunk import HeadTrunk, SharedTrunk
from xfer.kinds.base import PLUS
from xfer.kinds.joint import JointPrediction
from xfer.recipe.option import When
from xfer.task import NO_CHANCE, Stage, Task
from xfer.types import Batch, DataInfo, Preprocess, Sample

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import DataTable
    from xfer.types import Source

BLANK = np.zeros((8, 8, 3), np.uint8)  # for a head that is shown another head's pictures


class Multi(Task):
    """Heads on a shared backbone.

    Shapes: batch.images are those of the head that cuts the pictures; batch.targets those of each
    head, as HEAD.key.

    Raises XferError for options that don't fit a head, the backbone or each other.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classify+segment", "multilabel+segment")
    Options = own.Options
    counts_when: ClassVar[Mapping[str, When | str]] = NO_CHANCE
    not_exported = "a model with several heads"
    any_shape = True
    views: ClassVar[dict[str, str]] = {
        "none": "one view for all heads",
        "flip": "picture and mirror image, which each head averages as it does alone",
    }

    def __init__(self, backbone: Backbone, info: DataInfo, options: Any, data: DataTable) -> None:
        if not isinstance(options, own.HeadOptions):  # the defaults of all heads
            options = own.options_from({"heads": options.heads, "primary": options.primary})
        self.lead = own.leads(options.heads)
        own.check_followers(options, self.lead)
        super().__init__(backbone, info, options, data)
        self.joint = joint_kind(info.kind)
        self.shared = SharedTrunk(backbone)
        self.kind_of = dict(zip(options.heads, self.joint.parts, strict=True))
        made: dict[str, Task] = {}
        backbone.eval()  # making a head passes blank pictures through it, which no norm may count
        for name in sorted(options.heads, key=lambda head: head != self.lead):
            leads = name == self.lead
            view: Any = HeadTrunk(self.shared, leads)
            # a head that follows takes pictures of any size: its own is the net's
            table = data if leads else replace(data, size=0)
            part = self.joint.info_of(self.kind_of[name], info)
            made[name] = tasks.get(name)(view, part, options.own[name], table)
        backbone.train()
        self.heads = nn.ModuleDict({name: made[name] for name in options.heads})
        if all(head.backbone.tail is None for head in made.values()):
            backbone.tail = None
        wanted = {layer for head in made.values() for layer in head.reads}
        self.shared.layers = tuple(name for name in backbone.map_names if name in wanted)

    @classmethod
    def option_fields(cls, values: Mapping[str, Any]) -> dict[str, Field[Any]]:
        return own.fields_of(own.heads_in(values))

    @classmethod
    def options_from(cls, values: Mapping[str, Any]) -> own.HeadOptions:
        return own.options_from(values)

    @classmethod
    def kinds_for(cls, options: Any) -> tuple[str, ...]:
        each = [tasks.get(name).kinds for name in options.heads]
        return tuple(PLUS.join(names) for names in product(*each))

    @classmethod
    def conditions(cls, values: Mapping[str, Any]) -> Mapping[str, When | str]:
        return {**own.conditions(own.leads(own.heads_in(values))), **NO_CHANCE}

    def _each(self) -> list[tuple[str, Task]]:
        heads: Any = self.heads.items()
        return list(heads)

    @property
    def leader(self) -> Task:
        """The head that cuts the pictures."""
        head: Any = self.heads[self.lead]
        return head

    @property
    def preprocess(self) -> Preprocess:
        return self.leader.preprocess

    @property
    def picture_side(self) -> int:
        return self.leader.picture_side if hasattr(self, "heads") else 0

    @property
    def short_side(self) -> int:
        return self.leader.short_side

    @property
    def size_note(self) -> str:
        return self.leader.size_note

    @property
    def reads(self) -> tuple[str, ...]:
        return self.shared.layers

    def fit_data(self, bundle: Bundle) -> None:
        """Each head inspects what it learns from; the one that cuts the pictures comes first, and
        gives the others with truth in pixels the size that it has chosen."""
        for name, head in sorted(self._each(), key=lambda one: one[0] != self.lead):
            if name != self.lead and self.kind_of[name].placed:
                head.data = replace(head.data, size=self.preprocess.size)
            part = part_of(bundle, self.kind_of[name].name)
            head.fit_labels(part.splits["train"].labels())
            head.fit_data(part)

    def prepare(self, source: Source, say: Callable[[str], None] | None = None) -> None:
        if isinstance(source, Together):
            for name, head in self._each():
                head.prepare(source.parts[self.kind_of[name].name], say)

    def transform(
        self, train: bool, tta: str = "none"
    ) -> Callable[[Sample, np.random.Generator], Any]:
        lead, cut = self.lead, self.leader.transform(train, tta)
        others = {name: self._following(name, train) for name in self.heads if name != lead}

        def items(sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
            shown = cut(sample, rng)
            return {lead: shown} | {name: look(sample, shown) for name, look in others.items()}

        return items

    def _following(self, name: str, train: bool) -> Callable[[Sample, Any], Any]:
        """(sample, the item of the head that cut it) -> the item of another head."""
        head: Any = self.heads[name]
        if self.kind_of[name].placed:
            follow = getattr(head.transform(train), "follow", None)
            if follow is None:
                raise XferError(
                    f"task.heads: {name} can't learn from pictures that {self.lead} cuts",
                    f"{name} with heads for whole pictures, such as classify",
                )
            return lambda sample, shown: follow(sample, shown.cut)
        # what is known of a whole picture is the same in any cut, and needs none of its pixels
        look, unused = head.transform(False), np.random.default_rng(0)
        return lambda sample, shown: look(replace(sample, image=BLANK), unused)

    def collate(self, items: list[Any]) -> Batch:
        parts = {name: head.collate([one[name] for one in items]) for name, head in self._each()}
        return joined(self.lead, parts)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        weights = self.options.weights
        with self.shared.once(batch.images):
            return {
                f"{name}.{key}": weights[name] * loss
                for name, head in self._each()
                for key, loss in head(of_head(batch, name)).items()
            }

    def loss_weights(self, batch: Batch) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": weight
            for name, head in self._each()
            for key, weight in head.loss_weights(of_head(batch, name)).items()
        }

    @torch.no_grad()
    def predict(self, batch: Batch, tta: str = "none") -> list[JointPrediction]:
        """What each head predicts, as it would alone, of pictures of one size at a time."""
        found: dict[int, JointPrediction] = {}
        for places, part in alike(batch, batch.targets.get(f"{self.lead}.sizes")):
            with self.shared.once(part.images):
                each = [head.predict(of_head(part, name), tta) for name, head in self._each()]
            for place, name, said in zip(places, part.ids, zip(*each, strict=True), strict=True):
                found[place] = JointPrediction(name, said)
        return [found[n] for n in range(len(batch))]

    def metric(self) -> HeadsMetric:
        kind = self.kind_of[self.lead]
        painted = self.leader.info.classes if kind.placed and not kind.boxes else ()
        metrics = {name: head.metric() for name, head in self._each()}
        return HeadsMetric(metrics, self.options.primary, painted)

    def stages(self) -> list[Stage]:
        """The backbone's as deep as any head reads, then what each head adds to it."""
        own_stages = [(name, s) for name, head in self._each() for s in head.stages()]
        # by their weights, since a stage may be a list of modules that is made anew each time
        read = {id(p) for _, s in own_stages if s.role == "trunk" for p in s.module.parameters()}
        every = [Stage(name, module) for name, module in self.backbone.stages()]
        shared = [s for s in every if any(id(p) in read for p in s.module.parameters())]
        taken = {id(p) for stage in shared for p in stage.module.parameters()}
        rest = [
            Stage(f"{name}.{s.name}", s.module, s.role)
            for name, s in own_stages
            if not any(id(p) in taken for p in s.module.parameters())
        ]
        return [*shared, *sorted(rest, key=lambda stage: stage.role != "trunk")]

    def check_views(self, *names: str) -> None:
        super().check_views(*names)
        for _, head in self._each():
            head.check_views(*names)

    def view_protocol(self, tta: str) -> str:
        return f"{self.leader.view_protocol(tta)}, the same for all heads"

    def resolved_options(self) -> dict[str, Any]:
        return own.flat(self.options, dict(self._each()))
