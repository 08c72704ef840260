"""Units of box offsets fitted to each class, as in Fast R-CNN's code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_detect import DETECT, INFO, batch_of, made
from tiny_nets import tiny

from xfer import task as tasks
from xfer.boxes import overlap_xyxy
from xfer.detectors.offset_stats import LEAST, Proposed, offset_stats
from xfer.errors import XferError
from xfer.exporting.contract import Choices, exportable
from xfer.ops.boxes import decode
from xfer.ops.sampling import Sampled
from xfer.recipe.tables import DataTable
from xfer.testing.scenes import ShapeScenes

FITTED = {"proposals": "grid", "most_proposals": 60, "box_stats": "fitted"}


def scattered(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    corner = rng.uniform(0, 20, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(15, 40, (count, 2))], 1).astype(np.float32)


def roidb_stats(pictures: list[Proposed], classes: int) -> NDArray[np.float64]:
    """add_bbox_regression_targets of fast-rcnn, whose widths have no + 1."""
    count, sums, squared = np.zeros((classes, 1)), np.zeros((classes, 4)), np.zeros((classes, 4))
    for boxes, labels, proposals in pictures:
        for shown in (1, -1):  # the picture and its mirror image
            for region in np.concatenate([boxes, proposals]).astype(np.float64):
                overlaps = overlap_xyxy(region[None], boxes.astype(np.float64))
                which = int(overlaps.argmax())
                if overlaps[which] < 0.5:
                    continue
                (w, h), (x, y) = region[2:] - region[:2], (region[2:] + region[:2]) / 2
                truth = boxes[which].astype(np.float64)
                (u, v), (p, q) = truth[2:] - truth[:2], (truth[2:] + truth[:2]) / 2
                moves = np.array([shown * (p - x) / w, (q - y) / h, np.log(u / w), np.log(v / h)])
                count[labels[which]] += 1
                sums[labels[which]] += moves
                squared[labels[which]] += moves**2
    means = sums / count
    return np.stack([means, np.sqrt(squared / count - means**2)], 1)


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_they_are_those_of_fast_rcnns_code(seed: int, classes: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = [
        Proposed(scattered(rng, classes), np.arange(classes), scattered(rng, 30))
        for _ in range(count)
    ]
    found = np.array(offset_stats(pictures, classes, 0.5, True)).reshape(classes, 2, 4)
    wanted = roidb_stats(pictures, classes)
    assert np.allclose(found[:, 0], wanted[:, 0], atol=1e-5)
    assert np.allclose(found[:, 1], wanted[:, 1].clip(LEAST), atol=1e-5)


def test_classes_without_regions_get_the_numbers_of_all() -> None:
    rng = np.random.default_rng(0)
    one = Proposed(scattered(rng, 2), np.array([0, 2]), scattered(rng, 40))
    every = offset_stats([one], 1, 0.5, False)
    none = Proposed(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), scattered(rng, 5))
    assert offset_stats([none, one], 3, 0.5, False)[8:16] == every
    assert every[0] != 0.0 and offset_stats([one], 1, 0.5, True)[0] == 0.0
    assert offset_stats([none], 3, 0.5, True) == ()


@pytest.mark.parametrize("agnostic", [False, True])
def test_fitted_units_rebuild_the_model(agnostic: bool) -> None:
    source = ShapeScenes(8, empty=4, crowds=True)
    task: Any = made(source, agnostic=agnostic, ohem=agnostic, **FITTED)
    chosen = task.resolved_options()
    assert len(chosen["box_units"]) == 8 * (1 if agnostic else 2)
    again: Any = DETECT(tiny(False), INFO, tasks.make_options(DETECT, chosen), DataTable(size=64))
    again.load_state_dict(task.state_dict())
    again.prepare(source)
    batch = batch_of(task, source)
    with torch.no_grad():
        losses = []
        for each in (task, again):
            torch.manual_seed(1)
            losses.append({name: loss.item() for name, loss in each.train()(batch).items()})
    assert losses[0] == losses[1]
    one, two = task.eval().predict(batch), again.eval().predict(batch)
    assert all(np.array_equal(a.boxes, b.boxes) for a, b in zip(one, two, strict=True))


def test_a_region_moves_by_the_offset_that_it_learns() -> None:
    """Where the outputs are the goals, every object is found where it is."""
    task: Any = made(ShapeScenes(4), **FITTED)
    head = task.head
    head.box_mean = torch.tensor([[0.1, -0.2, 0.3, 0.0], [0.0, 0.1, -0.3, 0.2]])
    head.box_std = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2]])
    regions, truth = scattered(np.random.default_rng(0), 2), scattered(np.random.default_rng(1), 2)
    labels, goals = torch.tensor([1, 0]), torch.from_numpy(truth)
    own = torch.from_numpy(regions)
    sampled = Sampled([own], labels, goals, labels, [labels > 5], [2])
    offsets = head._goals(sampled)[:, None].expand(-1, 2, -1)
    moved = decode(offsets, own[:, None], head.box_std, head.box_mean)
    assert torch.allclose(moved[torch.arange(2), labels], goals, atol=1e-4)


def test_a_file_has_the_fitted_units() -> None:
    source = ShapeScenes(3)
    # nothing is suppressed: boxes of a grid overlap by equal parts, where rounding decides
    task: Any = made(source, nms=1.0, most_boxes=200, least_score=0.0, **FITTED).eval()
    batch = batch_of(task, source, 3)
    net = exportable(task, Choices(for_onnx=False))
    with torch.no_grad():
        boxes, scores, _ = net(*net.feed(batch))
        _, found = task.find(batch, "none")
    for n, one in enumerate(found):
        there = scores[n] > 0
        assert there.any() and torch.allclose(scores[n][there], one.scores, atol=1e-4)
        assert boxes[n][there].sum() == pytest.approx(one.boxes.sum().item(), rel=1e-2)


def test_units_that_do_not_fit_are_told() -> None:
    for numbers, told in (((0.1,) * 5, "5 numbers"), ((0.0,) * 16, "above 0")):
        with pytest.raises(XferError, match=told):
            made(ShapeScenes(2), box_units=numbers, **FITTED)
