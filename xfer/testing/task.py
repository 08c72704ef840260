"""Checks the contract of a task, for every new task."""

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
    """Raises AssertionError, naming the failure, unless the task keeps the contract.

    Args:
        task: a task's name or its class.
        source: a few samples of a kind that the task takes; see SyntheticSource.
        backbone: a small new one: the task may remove parts of it.
        options: an instance of the task's Options; default: all defaults.

    Checked: every option has a help text, and its conditions name existing keys; items are the
    same for the same generator; losses are finite scalars by name, and their sum gives the head a
    gradient, in fp32 and in bf16; every parameter with a gradient is in exactly one stage, the head
    last; frozen stages stay in eval mode; one prediction per picture, with and without mirror
    images, described as a flat row; scores of two halves merge to the scores of the whole; the
    resolved options rebuild the task.
    """
    kind = tasks.get(task) if isinstance(task, str) else task
    for field in fields(kind.Options):
        assert field.metadata.get("help"), f"{kind.__name__}.Options.{field.name} has no help text"
    _check_conditions(kind)
    assert source.info.kind in kind.kinds, (
        f"{kind.__name__} does not take data of kind {source.info.kind}"
    )
    data = DataTable(size=backbone.preprocess.size)
    built = kind(backbone, source.info, options or kind.Options(), data)
    built.fit_labels(source.labels())
    info = source.info
    built.fit_data(Bundle("check", "synthetic", info.kind, info.classes, {"train": source}))
    built.prepare(source)
    _check_items(built, source)
    batch = next(
        Loader(source, built.transform(True), built.collate, batch=8, train=True).batches(0)
    )
    _check_losses(built, batch)
    _check_freezing(built)
    _check_predictions(built, source)
    assert set(built.resolved_options()) == set(kind.option_fields(built.resolved_options()))
    assert "auto" not in built.resolved_options().values(), "a resolved option is still auto"


def _check_conditions(kind: type[Task]) -> None:
    options = tasks.options_of(kind)
    keys = {*FIELDS, *options, "kind", "processes"}
    for key in kind.counts_when:
        assert key in FIELDS, f"{kind.__name__}.counts_when: no table has {key}"
    for key in options:
        for when in conditions(kind, key):
            for way in when if isinstance(when, tuple) else (when,):
                names = () if isinstance(way, str) else tuple(way)
                wrong = [name for name in names if name not in keys]
                assert not wrong, f"{key} depends on {wrong[0]}, which is not a key"


def _check_items(task: Task, source: Source) -> None:
    transform = task.transform(True)
    one, two = (task.collate([transform(source[0], np.random.default_rng(5))]) for _ in range(2))
    assert torch.equal(one.images, two.images), "the same generator gives different items"
    assert one.images.dtype == torch.uint8 and one.images.shape[1] == 3, (
        "images must be uint8 (N, 3, H, W)"
    )
    assert len(one.ids) == 1 and one.ids[0] == source.ids[0], "ids must be the samples' ids"


def _check_losses(task: Task, batch: Any) -> None:
    for bf16 in (False, True):
        task.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = task(batch)
        assert losses and all(v.ndim == 0 for v in losses.values()), (
            "losses must be scalars by name"
        )
        total = torch.stack(list(losses.values())).sum()
        assert math.isfinite(total.item()), f"losses are not finite: {losses}"
        total.backward()
        stages = task.stages()
        assert stages[-1].role == "head", "the head must be the last stage"
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
    # a stage may be a temporary ModuleList: only the layers in it have a mode
    layers = [m for m in trunk[0].modules() if not isinstance(m, torch.nn.ModuleList)]
    assert task.training and not any(m.training for m in layers), (
        "a frozen stage is not in eval mode"
    )
    task.freeze([])
    assert all(p.requires_grad for p in trunk[0].parameters()), "a thawed stage has no gradients"
    assert all(m.training for m in layers), "a thawed stage is still in eval mode"


def _check_predictions(task: Task, source: Source) -> None:
    task.eval()
    whole, halves = task.metric(), [task.metric(), task.metric()]
    count = 0
    loader = Loader(source, task.transform(False), task.collate, batch=4, train=False)
    for number, batch in enumerate(loader.batches(0)):
        predictions = task.predict(batch)
        assert [p.id for p in predictions] == list(batch.ids), (
            "predict() must return one prediction per picture, in order"
        )
        if "flip" in task.views:
            assert len(task.predict(batch, "flip")) == len(batch), (
                "predict(batch, 'flip') must average mirror images"
            )
        row = task.describe(predictions[0])
        assert row["id"] == batch.ids[0], "describe() must return a row with the id"
        whole.update(predictions, batch)
        halves[number % 2].update(predictions, batch)
        count += len(batch)
    assert count == len(source), f"{count} of {len(source)} pictures were predicted"
    merged = task.metric()
    merged.load_states([half.state() for half in halves])
    expected, got = whole.compute(), merged.compute()
    assert whole.primary in expected, f"compute() lacks its primary {whole.primary!r}"
    rows = expected.get("per_class", {}).values()
    assert all(isinstance(row, dict) for row in rows), (
        'compute()["per_class"] is not class -> {score: number}'
    )
    defined = any(whole.primary.split("_")[0] == key.split("_")[0] for key in whole.protocol())
    assert defined, "the primary's definition is not in protocol()"
    assert got == expected, f"merged states score {got}, the whole {expected}"
    named = {
        row["id"] for row in whole.rows()
    }  # for boxes, a picture may have several rows or none
    assert named <= set(source.ids), "a row names an unknown picture"
    if not task.kind.placed:
        assert len(whole.rows()) == count, "there must be one row per picture"
    assert all(task.view_protocol(view) for view in task.views), "a view has no description"
