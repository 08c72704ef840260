"""Panoptic by masks: objects of Mask R-CNN laid over stuff, on one trunk."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_nets import tiny

from xfer.cli.app import main
from xfer.data.loading.loader import Loader
from xfer.data.sources.base import Bundle
from xfer.data.transforms.masks import MaskStatistics
from xfer.explain.heat_maps import explain
from xfer.objects.segments import VOID, Segments
from xfer.pixels.merge_masks import MaskRules, merged_masks
from xfer.pixels.object_masks import ObjectMasks, class_channels, collapsed
from xfer.pixels.panoptic_options import Options
from xfer.recipe.idle import idle_settings
from xfer.recipe.tables import DataTable, Recipe, RunTable, ScheduleTable, override
from xfer.task import Task, get, make_options
from xfer.testing.host_waits import Case, count_waits
from xfer.testing.segment_scenes import SegmentScenes
from xfer.train.loop import fit

FEW: dict[str, Any] = {
    "objects": "masks", "width": 16, "dropout": 0.0, "loss_step": 1, "object_levels": ("stride4",),
    "mask_levels": ("stride2", "stride4"), "object_width": 16, "object_units": 32, "mask_convs": 1,
    "regions": 32, "anchor_count": 3,
}  # fmt: skip


def built(**options: Any) -> tuple[Task, SegmentScenes]:
    torch.manual_seed(0)
    source, kind = SegmentScenes(4), get("panoptic")
    table = DataTable(size=48, augment="none")
    task = kind(tiny(), source.info, make_options(kind, {**FEW, **options}), table)
    task.fit_data(Bundle("discs", "test", "panoptic", source.info.classes, {"train": source}))
    return task, source


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Any, ...]:
    """Masks, labels, scores, classes of stuff, their probability, and rules."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(0, 6))
    masks: list[NDArray[np.bool_]] = []
    for _ in range(count):
        (y1, y2), (x1, x2) = np.sort(rng.integers(0, (10, 13), (2, 2)).T, axis=1)
        mask = np.zeros((9, 12), bool)
        mask[y1:y2, x1:x2] = rng.random() < 0.3 or rng.random((y2 - y1, x2 - x1)) < 0.7
        masks.append(mask)
    scores = rng.choice([0.2, 0.4, 0.5, 0.6, 0.9], count).astype(np.float32)
    bounds = st.sampled_from([0.0, 0.1, 0.5, 1.0])
    rules = MaskRules(draw(bounds), draw(bounds), draw(bounds) / 5, draw(bounds) / 20)
    stuff = rng.integers(VOID, 3, (9, 12))
    chance = rng.random((9, 12)).astype(np.float32)
    return masks, rng.integers(3, 6, count), scores, stuff, chance, rules


def reference(
    masks: Any, labels: Any, scores: Any, stuff: Any, rules: MaskRules
) -> list[tuple[int, set[tuple[int, int]]]]:
    """The heuristic of Kirillov et al. 2019 on sets of pixels: (class, pixels) of each segment."""
    used: set[tuple[int, int]] = set()
    segments: list[tuple[int, set[tuple[int, int]]]] = []
    ranked = sorted(range(len(masks)), key=lambda k: -scores[k])
    for k in ranked:
        pixels = set(zip(*(axis.tolist() for axis in np.nonzero(masks[k])), strict=True))
        if scores[k] < rules.least_score or not pixels:
            continue
        if len(pixels & used) / len(pixels) > rules.overlap:
            continue
        own = pixels - used
        if not own or len(own) < rules.least_thing * stuff.size:
            continue
        segments.append((int(labels[k]), own))
        used |= own
    for label in range(3):
        own = {
            (y, x) for y in range(stuff.shape[0]) for x in range(stuff.shape[1])
            if stuff[y, x] == label and (y, x) not in used
        }  # fmt: skip
        if own and len(own) >= rules.least_stuff * stuff.size:
            segments.append((label, own))
    return segments


@given(scenes())
@settings(max_examples=150, deadline=None)
def test_merging_equals_the_heuristic_on_sets_of_pixels(scene: Any) -> None:
    masks, labels, scores, stuff, chance, rules = scene
    found, sure = merged_masks(masks, labels, scores, stuff, chance, rules)
    each = [
        (label, set(zip(*(axis.tolist() for axis in np.nonzero(found.map == k)), strict=True)))
        for k, label in enumerate(found.labels.tolist())
    ]
    assert each == reference(masks, labels, scores, stuff, rules)
    things = found.labels >= 3
    assert (np.diff(sure[things]) <= 0).all() and (sure[things] >= rules.least_score).all()
    assert (found.areas() > 0).all() and ((sure >= 0) & (sure <= 1)).all()


def test_surer_objects_come_first_and_cover_only_so_much_of_the_others() -> None:
    masks = [np.zeros((4, 10), bool) for _ in range(3)]
    masks[0][:, :6], masks[1][:, 3:9], masks[2][:, 2:6] = True, True, True
    stuff, chance = np.zeros((4, 10), np.int64), np.ones((4, 10), np.float32)
    stuff[:, 9] = VOID  # of `other`, where no object is
    labels, scores = np.array([1, 2, 1]), np.array([0.7, 0.9, 0.6], np.float32)
    found, sure = merged_masks(masks, labels, scores, stuff, chance, MaskRules(0.5, 0.5, 0, 0))
    assert found.labels.tolist() == [2, 1] and sure.tolist() == pytest.approx([0.9, 0.7])
    assert found.map[0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, VOID]
    found, _ = merged_masks(masks, labels, scores, stuff, chance, MaskRules(0.5, 0.4, 0, 0))
    assert found.labels.tolist() == [2, 0]  # both others are covered by more: stuff is seen again
    assert found.map[0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, VOID]


def test_things_are_one_class_of_the_decoder() -> None:
    things = np.array([True, False, True, False])
    assert class_channels(things).tolist() == [2, 0, 2, 1]
    known = MaskStatistics(np.array([10, 50, 20, 20]), np.array([80, 100, 60, 20]), 64)
    own = collapsed(known, things)
    assert own.pixels.tolist() == [50, 20, 30] and own.seen.tolist() == [100, 20, 100]


def test_objects_are_taught_from_segments_without_crowds() -> None:
    map = np.full((30, 40), -1, np.int32)
    map[2:12, 4:24], map[15:25, 5:15], map[26:, :], map[15:20, 30:] = 0, 1, 2, 3
    segments = Segments.of(map, [2, 0, 1, 2, 0], [False, True, False, False, False])
    teach = ObjectMasks(np.array([True, False, True]), Options()).teach
    known = teach(segments)
    assert known.boxes.tolist() == [[4, 2, 24, 12], [30, 15, 40, 20]]  # the last has no pixel
    assert known.labels.tolist() == [1, 1] and known.crowds.tolist() == [[5, 15, 15, 25]]
    assert (known.shares == 255).all() and np.array_equal(known.places, known.boxes)


def test_it_learns_a_few_pictures_by_heart() -> None:
    task, source = built()
    assert task.resolved_options()["anchors"]
    optimizer = torch.optim.Adam(task.parameters(), 1e-2)
    loader = Loader(source, task.transform(True), task.collate, batch=4, train=True, workers=0)
    batches = (batch for epoch in itertools.count() for batch in loader.batches(epoch))
    for batch in itertools.islice(batches, 40):
        optimizer.zero_grad()
        torch.stack(list(task(batch).values())).sum().backward()
        optimizer.step()
    task.eval()
    for tta in ("none", "flip"):
        metric = task.metric()
        shown = Loader(source, task.transform(False, tta), task.collate, batch=4, train=False)
        for batch in shown.batches(0):
            metric.update(task.predict(batch, tta), batch)
        scores = metric.compute()
        assert scores["pq_things"] > 0.4 and scores["pq_stuff"] > 0.6, scores


def test_a_picture_without_a_thing_is_learnt_from() -> None:
    task, source = built()
    bare = [
        replace(source[k], segments=Segments.of(np.zeros((48, 64), np.int32), [0]))
        for k in range(2)
    ]
    transform, rng = task.transform(True), np.random.default_rng(0)
    losses = task(task.collate([transform(sample, rng) for sample in bare]))
    assert {"classes", "rpn_score", "rpn_box", "cls", "box", "mask"} == set(losses)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_it_runs_on_a_gpu_and_hardly_waits() -> None:
    case = Case("panoptic", 0, 1, FEW)
    waits = count_waits(case, "tiny_nets:tiny", pictures=2, precision="fp32")
    assert waits.step == 0 and waits.predict <= 1, waits.where


def test_what_is_explained_is_one_object_or_a_class_of_stuff() -> None:
    task, source = built(least_score=0.0, least_thing=0.0)
    task.eval()
    for label in (0, 1):
        assert explain(task, source[0].image, label).heat.shape == (48, 64)


def test_a_run_reloads_predicts_and_is_refused_by_export(tmp_path: Path, capsys: Any) -> None:
    recipe = Recipe(
        name="test", task="panoptic", backbone="tiny_nets:tiny", weights="none", task_options=FEW,
        data=DataTable(source="digits", batch=2, size=64, limit=4, workers=1),
        schedule=ScheduleTable(epochs=1), run=RunTable(precision="fp32", plots=False),
    )  # fmt: skip
    run = tmp_path / "run"
    fit(recipe, run, verbosity=-1)
    assert main(["eval", str(run), "--json"]) == 0
    capsys.readouterr()
    assert main(["export", str(run), "-o", str(tmp_path / "net.onnx")]) == 2
    assert "a model with task.objects=masks can't be exported" in capsys.readouterr().err


def test_an_option_of_the_other_way_is_reported() -> None:
    values = {"task.overlap": 0.4, "task.deviation": 2.0}
    for objects, idle in (("centres", "task.overlap=0.4"), ("masks", "task.deviation=2")):
        recipe = override(Recipe(task="panoptic"), {**values, "task.objects": objects})
        (line,) = idle_settings(replace(recipe, given=frozenset(values)))
        assert line.startswith(f"{idle} has no effect with task.objects={objects}")
