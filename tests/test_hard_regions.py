"""Fast and Faster R-CNN: regions chosen by their losses, and regions moved to their boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_detect import batch_of, made
from torch import Tensor
from torchvision.ops import box_iou

from xfer.detectors.contract import Truth
from xfer.detectors.two_stage import likeliest
from xfer.exporting.contract import Choices, exportable
from xfer.ops.sampling import HARD_NMS, Sampled, hardest_regions
from xfer.testing.scenes import ShapeScenes

SMALL = {"rpn_train": [200, 60], "rpn_test": [200, 30], "regions": 12}


@given(st.integers(0, 10**6), st.lists(st.integers(0, 30), min_size=1, max_size=3), st.data())
@settings(max_examples=40, deadline=None)
def test_the_hardest_regions_are_those_of_the_highest_loss(
    seed: int, counts: list[int], data: st.DataObject
) -> None:
    rng, most = np.random.default_rng(seed), data.draw(st.integers(1, 12))
    regions: list[Tensor] = []
    for count in counts:
        corner = rng.uniform(0, 30, (count, 2))
        both = np.concatenate([corner, corner + rng.uniform(20, 60, (count, 2))], 1)
        regions.append(torch.tensor(both, dtype=torch.float32).reshape(-1, 4))
    total = sum(counts)
    losses = torch.from_numpy(rng.permutation(total).astype(np.float32))
    objects = torch.arange(total)
    found = hardest_regions(
        Sampled(
            regions, objects % 5, torch.cat(regions) + 1, objects,
            [torch.ones(len(own), dtype=torch.bool) for own in regions], counts,
        ),
        losses, most,
    )  # fmt: skip
    first = 0
    wanted: list[int] = []
    for own in regions:  # section 4.2 of Shrivastava et al. 2016, one region after the other
        kept: list[int] = []
        for k in losses[first : first + len(own)].argsort(descending=True).tolist():
            easier = any(float(box_iou(own[[j]], own[[k]])) > HARD_NMS for j in kept)
            if not easier and len(kept) < most:
                kept.append(k)
        wanted += [k + first for k in kept]
        first += len(own)
    assert found.objects.tolist() == wanted
    assert torch.equal(torch.cat(found.regions), torch.cat(regions)[wanted])
    assert torch.equal(found.labels, objects[wanted] % 5)
    assert torch.equal(found.goals, torch.cat(regions)[wanted] + 1)


@pytest.mark.parametrize("agnostic", [False, True])
def test_hard_regions_are_learned_in_place_of_drawn_ones(agnostic: bool) -> None:
    source = ShapeScenes(4)
    losses: dict[bool, float] = {}
    for ohem in (False, True):
        task: Any = made(source, ohem=ohem, agnostic=agnostic, **SMALL).eval()
        with torch.no_grad():
            task.head.outputs.cls_score.weight.normal_(std=0.5)
        batch = batch_of(task, source, 4)
        maps = task.maps_of(task.backbone.normalise(batch.images))
        learnt = task.head.learn(maps, Truth.of(batch))
        assert all(0 < len(one) <= 12 for one in learnt.sampled.regions)
        losses[ohem] = sum(learnt.losses[name].item() for name in ("cls", "box"))
    assert losses[True] > losses[False]


@pytest.mark.parametrize("agnostic", [False, True])
def test_regions_of_a_second_round_are_where_the_first_found_them(agnostic: bool) -> None:
    source = ShapeScenes(3)
    once: Any = made(source, agnostic=agnostic, least_score=0.0, most_boxes=1000, nms=1.0, **SMALL)
    twice: Any = made(
        source, agnostic=agnostic, least_score=0.0, most_boxes=1000, nms=1.0, rounds=2, **SMALL
    )
    twice.load_state_dict(once.state_dict())
    batch = batch_of(once.eval(), source, 3)
    with torch.no_grad():
        seen, found = once.find(batch, "none")
        map = once.head.map_of(seen[0].maps)
        sizes = batch.targets["sizes"]
        regions = once.head._common(seen, [map]).boxes
        boxes = [likeliest(*one) for one in once.head._round(seen, [map], regions, sizes)]
        moved = once.head.detect(seen, sizes, boxes)
        _, both = twice.eval().find(batch, "none")
    for first, second, union in zip(found, moved, both, strict=True):
        scores = torch.cat([first.scores, second.scores]).sort(descending=True).values
        assert torch.allclose(union.scores, scores)
        assert union.boxes.sum() == pytest.approx(
            (first.boxes.sum() + second.boxes.sum()).item(), rel=1e-4
        )


def test_a_file_makes_the_same_rounds() -> None:
    source = ShapeScenes(3)
    task: Any = made(source, rounds=2, vote=0.6, **SMALL).eval()
    batch = batch_of(task, source, 3)
    net = exportable(task, Choices(for_onnx=False))
    with torch.no_grad():
        boxes, scores, labels = net(*net.feed(batch))
        _, found = task.find(batch, "none")
    for n, one in enumerate(found):
        there = scores[n] > 0
        assert torch.allclose(scores[n][there], one.scores, atol=1e-4)
        assert (labels[n][there] == one.labels).float().mean() > 0.9
        assert boxes[n][there].sum() == pytest.approx(one.boxes.sum().item(), rel=1e-2)
