"""The contract of a task, as a function: what a new file in tasks/ must keep."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from xfer import plugs
from xfer import task as tasks
from xfer.backbones.base import Backbone
from xfer.data.loading.loader import Loader
from xfer.data.sources.base import Bundle
from xfer.recipe.idle import conditions
from xfer.recipe.tables import FIELDS, DataTable
from xfer.task import Task
from xfer.types import Source


@plugs.face("task")
def check_task(
    task: str | type[Task], source: Source, backbone: Backbone, options: Any = None
) -> None:
    """Raises AssertionError, naming what does not hold, unless the task keeps the contract.

    Args:
        task: a task's name or its class.
        source: a few samples of a kind that the task learns from; see SyntheticSource.
        backbone: a small one, freshly made: the task may take parts of it away.
        options: an instance of the task's Options; default: all defaults.

    Checked: every option has a help text, and its conditions speak of keys that there are; items
    are the same for the same generator; losses are finite scalars by name whose sum reaches the
    head with a gradient, in fp32 and in bf16; every parameter that gets a gradient is in exactly
    one stage, the head last; frozen stages stay in eval mode; one prediction a picture, with and
    without mirror images, described as a flat row; scores of two halves merge to the scores of the
    whole; the resolved options rebuild it.
    """
    kind = tasks.get(task) if isinstance(task, str) else task
    for field in fields(kind.Options):
        assert field.metadata.get("help"), f"{kind.__name__}.Options.{field.name} has no help text"
    _check_conditions(kind)
    assert source.info.kind in kind.kinds, f"{kind.__name__} does not learn from {source.info.kind}"
    data = DataTable(size=backbone.preprocess.size)
    made = kind(backbone, source.info, options or kind.Options(), data)
    made.fit_labels(source.labels())
    info = source.info
    made.fit_data(Bundle("check", "synthetic", info.kind, info.classes, {"train": source}))
    made.prepare(source)
    _check_items(made, source)
    batch = next(Loader(source, made.transform(True), made.collate, batch=8, train=True).batches(0))
    _check_losses(made, batch)
    _check_freezing(made)
    _check_predictions(made, source)
    assert set(made.resolved_options()) == {f.name for f in fields(kind.Options)}
    assert "auto" not in made.resolved_options().values(), "resolved options still say auto"


def _check_conditions(kind: type[Task]) -> None:
    options = tasks.options_of(kind)
    known = {*FIELDS, *options, "kind", "processes"}
    for key in kind.counts_when:
        assert key in FIELDS, f"{kind.__name__}.counts_when: no table has {key}"
    for key in options:
        for when in conditions(kind, key):
            for way in when if isinstance(when, tuple) else (when,):
                names = () if isinstance(way, str) else tuple(way)
                wrong = [name for name in names if name not in known]
                assert not wrong, f"{key} counts when {wrong[0]} is so, and there is no such key"


def _check_items(task: Task, source: Source) -> None:
    transform = task.transform(True)
    one, two = (task.collate([transform(source[0], np.random.default_rng(5))]) for _ in range(2))
    assert torch.equal(one.images, two.images), "the same generator gives another item"
    assert one.images.dtype == torch.uint8 and one.images.shape[1] == 3, (
        "images: uint8 (N, 3, H, W)"
    )
    assert len(one.ids) == 1 and one.ids[0] == source.ids[0], "ids are the samples'"


def _check_losses(task: Task, batch: Any) -> None:
    for bf16 in (False, True):
        task.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = task(batch)
        assert losses and all(v.ndim == 0 for v in losses.values()), "losses: scalars by name"
        total = torch.stack(list(losses.values())).sum()
        assert math.isfinite(total.item()), f"losses are not finite: {losses}"
        total.backward()
        stages = task.stages()
        assert stages[-1].role == "head", "the head is the last stage"
        head = list(stages[-1].module.parameters())
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in head), (
            f"no gradient reaches the head in {'bf16' if bf16 else 'fp32'}"
        )
    counts = [sum(p is q for s in stages for q in s.module.parameters()) for p in task.parameters()]
    moved = [p.grad is not None for p in task.parameters()]
    assert all(n == 1 for n, m in zip(counts, moved, strict=True) if m), (
        "a parameter with a gradient is not in exactly one stage"
    )
    task.zero_grad(set_to_none=True)


def _check_freezing(task: Task) -> None:
    trunk = [s.module for s in task.stages() if s.role == "trunk"]
    task.train()
    task.freeze(trunk[:1])
    assert not any(p.requires_grad for p in trunk[0].parameters()), "a frozen stage has gradients"
    # a stage may be a list made for the occasion: the layers in it are what trains
    layers = [m for m in trunk[0].modules() if not isinstance(m, torch.nn.ModuleList)]
    assert task.training and not any(m.training for m in layers), "frozen but not in eval mode"
    task.freeze([])
    assert all(p.requires_grad for p in trunk[0].parameters()), "thawed without gradients"
    assert all(m.training for m in layers), "thawed but still in eval mode"


def _check_predictions(task: Task, source: Source) -> None:
    task.eval()
    whole, halves = task.metric(), [task.metric(), task.metric()]
    count = 0
    loader = Loader(source, task.transform(False), task.collate, batch=4, train=False)
    for number, batch in enumerate(loader.batches(0)):
        found = task.predict(batch)
        assert [p.id for p in found] == list(batch.ids), "one prediction a picture, in order"
        if "flip" in task.views:
            assert len(task.predict(batch, "flip")) == len(batch), "mirror images are averaged"
        row = task.describe(found[0])
        assert row["id"] == batch.ids[0], "describe() gives a row with the id"
        whole.update(found, batch)
        halves[number % 2].update(found, batch)
        count += len(batch)
    assert count == len(source), f"{count} of {len(source)} pictures were predicted"
    merged = task.metric()
    merged.load_states([half.state() for half in halves])
    expected, got = whole.compute(), merged.compute()
    assert whole.primary in expected, f"compute() lacks its primary {whole.primary!r}"
    defined = any(whole.primary.split("_")[0] == key.split("_")[0] for key in whole.protocol())
    assert defined, "the primary's definition is not in protocol()"
    assert got == expected, f"merged states score {got}, the whole {expected}"
    named = {row["id"] for row in whole.rows()}  # of boxes there may be several a picture, or none
    assert named <= set(source.ids), "a row names a picture that is not there"
    if not task.kind.placed:
        assert len(whole.rows()) == count, "one row a picture"
    assert all(task.view_protocol(view) for view in task.views), "a view is not put into words"
