"""Box arithmetic, anchors, sampling and suppression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import batched_nms, box_iou, generalized_box_iou_loss
from torchvision.ops import nms as torchvision_nms

from xfer.ops.anchors import best_overlap, fit_sizes, grid_anchors, plain_sizes
from xfer.ops.boxes import clip, decode, encode, giou_loss, iou_xyxy
from xfer.ops.fixed import padded
from xfer.ops.nms import Suppression, best_boxes, class_nms, nms, suppressed
from xfer.ops.sampling import RegionRules, draw, draw_fixed, ignored, match, sample_regions
from xfer.ops.suppress import best_of_batch, suppress
from xfer.types import FeatureSpec

SPEC = FeatureSpec("conv5", 8, 16, 163, 15.0)


@st.composite
def boxes(draw: st.DrawFn, least: int = 1, most: int = 8) -> Tensor:
    corner = st.floats(-20, 500)
    side = st.floats(2, 400)
    rows = draw(st.lists(st.tuples(corner, corner, side, side), min_size=least, max_size=most))
    xywh = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    return torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)


@given(boxes(0), boxes(0))
def test_overlap_equals_torchvisions(one: Tensor, two: Tensor) -> None:
    torch.testing.assert_close(iou_xyxy(one, two), box_iou(one, two), atol=1e-5, rtol=1e-4)


def test_overlap_of_empty_boxes_is_zero() -> None:
    empty = torch.tensor([[5.0, 5.0, 5.0, 5.0]])
    assert iou_xyxy(empty, empty).item() == 0


@given(boxes(1, 1), boxes(1, 1))
def test_decoding_undoes_encoding(goal: Tensor, start: Tensor) -> None:
    std = torch.tensor([0.1, 0.1, 0.2, 0.2])
    ratio = (goal[:, 2:] - goal[:, :2]) / (start[:, 2:] - start[:, :2])
    if ratio.max() > 60:  # beyond what decode() allows
        return
    back = decode(encode(goal, start, std), start, std)
    torch.testing.assert_close(back, goal, atol=0.05, rtol=1e-3)


def test_a_wild_offset_gives_a_finite_box() -> None:
    start = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    wild = decode(torch.full((1, 4), 1e4), start, torch.ones(4))
    assert wild.isfinite().all()


@given(boxes(), st.integers(1, 300), st.integers(1, 300))
def test_clipped_boxes_are_inside(given_boxes: Tensor, height: int, width: int) -> None:
    inside = clip(given_boxes, torch.tensor([height, width]))
    assert (inside >= 0).all() and (inside[:, 2] <= width).all() and (inside[:, 3] <= height).all()


def test_anchors_lie_on_what_their_cells_look_at() -> None:
    sizes = torch.tensor([[10.0, 20.0], [30.0, 30.0]])
    anchors = grid_anchors(SPEC, (2, 3), sizes).view(2, 3, 2, 4)
    # cell (1, 2) is centred on pixel (31, 47), whose middle is half a pixel further
    assert anchors[1, 2, 0].tolist() == [47.5 - 5, 31.5 - 10, 47.5 + 5, 31.5 + 10]
    assert anchors[0, 0, 1].tolist() == [15.5 - 15, 15.5 - 15, 15.5 + 15, 15.5 + 15]


def test_fitted_anchors_find_the_sizes_that_there_are() -> None:
    rng = np.random.default_rng(0)
    kinds = np.array([[20, 20], [60, 120], [200, 90]], float)
    sizes = np.concatenate([k * rng.uniform(0.9, 1.1, (50, 2)) for k in kinds])
    fitted = fit_sizes(np.concatenate([sizes, [[1, 1]]]), 3)
    assert np.allclose(fitted[np.argsort(fitted[:, 0])], kinds, rtol=0.1)
    assert best_overlap(sizes, fitted) > 0.85 > best_overlap(sizes, plain_sizes(480, 3))


def test_fewer_sizes_than_anchors_are_not_invented() -> None:
    assert len(fit_sizes(np.array([[5.0, 7.0]] * 4), 9)) == 1
    assert fit_sizes(np.zeros((0, 2)), 9).shape == (0, 2)
    assert plain_sizes(480, 9).shape == (9, 2) and plain_sizes(480, 0).shape == (0, 2)


def test_every_true_box_is_some_regions_best() -> None:
    regions = torch.tensor([[0.0, 0, 10, 10], [0, 0, 40, 40], [50, 50, 60, 60]])
    truth = torch.tensor([[0.0, 0, 30, 30], [48, 48, 80, 80]])
    found = match(regions, truth)
    assert found.best.tolist() == [False, True, True]
    assert found.index.tolist() == [0, 0, 1]
    assert match(regions, truth[:0]).iou.tolist() == [0, 0, 0]


def test_a_true_box_that_nothing_touches_has_no_best_region() -> None:
    assert not match(torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([[50.0, 50, 60, 60]])).best.any()


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.floats(0.1, 1.0))
def test_draws_keep_their_quotas(objects: int, rest: int, count: int, share: float) -> None:
    kind = torch.tensor([1] * objects + [0] * rest, dtype=torch.bool)
    most = int(count * share)
    fewer = draw(kind, ~kind, count, share), draw_fixed(kind, ~kind, count, most)
    for drawn in fewer:  # the second is that of a device
        positive = drawn.index[drawn.real & drawn.foreground]
        negative = drawn.index[drawn.real & ~drawn.foreground]
        assert len(positive) == min(objects, most)
        assert len(negative) == min(rest, count - len(positive))
        assert kind[positive].all() and not kind[negative].any()
        both = torch.cat([positive, negative])
        assert len(both.unique()) == len(both)
        assert not drawn.foreground[drawn.first :].any()
        assert drawn.foreground[: len(positive)].all(), "foreground comes first"


def test_draws_of_a_fixed_size_are_as_even_as_those_of_a_cpu() -> None:
    kind = torch.arange(60) < 20
    torch.manual_seed(0)
    counts = torch.zeros(60)
    for _ in range(600):
        drawn = draw_fixed(kind, ~kind, 16, 5)
        counts[drawn.index[drawn.real]] += 1
    assert counts[:20].min() > 110 and counts[:20].max() < 190, "150 of 600 each"
    assert counts[20:].min() > 125 and counts[20:].max() < 205, "165 of 600 each"


def test_draws_depend_on_torchs_generator_alone() -> None:
    kind = torch.arange(1000) < 500
    torch.manual_seed(3)
    one = draw(kind, ~kind, 64, 0.25)
    torch.manual_seed(3)
    two = draw(kind, ~kind, 64, 0.25)
    assert torch.equal(one.index, two.index)


def test_regions_are_labelled_by_what_they_overlap() -> None:
    truth, labels = torch.tensor([[0.0, 0, 20, 20], [40, 40, 60, 60]]), torch.tensor([2, 0])
    proposals = torch.tensor([[0.0, 0, 20, 18], [44, 44, 70, 70], [0, 0, 100, 100]])
    none = truth[:0]
    rules = RegionRules(8, 1.0, 0.5, (0.1, 0.5))
    regions, said, goals, objects, *_ = sample_regions(proposals, truth, labels, none, rules, 7)
    rows = {tuple(r): (s, tuple(g)) for r, s, g in zip(
        regions.tolist(), said.tolist(), goals.tolist(), strict=True)}  # fmt: skip
    assert all(torch.equal(goals[n], truth[k]) for n, k in enumerate(objects.tolist()) if k >= 0)
    assert [k >= 0 for k in objects.tolist()] == [label != 7 for label in said.tolist()]
    assert rows[0, 0, 20, 20] == (2, (0, 0, 20, 20)), "true boxes are among the candidates"
    assert rows[0, 0, 20, 18] == (2, (0, 0, 20, 20))
    assert rows[44, 44, 70, 70][0] == 7, "IoU .31 is background"
    assert (0, 0, 100, 100) not in rows, "IoU .04 is neither"


def test_a_picture_without_objects_gives_background() -> None:
    proposals = torch.tensor([[0.0, 0, 20, 18], [44, 44, 70, 70]])
    none = proposals[:0]
    _, said, *_ = sample_regions(proposals, none, torch.zeros(0).long(), none, RegionRules(), 3)
    assert said.tolist() == [3, 3]


def test_regions_in_a_crowd_are_not_background() -> None:
    crowd = torch.tensor([[0.0, 0, 50, 50]])
    regions = torch.tensor([[10.0, 10, 20, 20], [40, 40, 90, 90], [60, 60, 80, 80]])
    assert ignored(regions, crowd).tolist() == [True, False, False]
    none = crowd[:0]
    drawn, *_ = sample_regions(
        regions, none, torch.zeros(0).long(), crowd, RegionRules(background=(0.0, 0.5)), 1
    )
    assert drawn.tolist() == regions[1:].tolist()


@given(boxes(1, 12))
def test_generalised_iou_and_its_gradient_are_torchvisions(some: Tensor) -> None:
    others = some.flip(0) + torch.tensor([3.0, -2.0, 5.0, 1.0])
    losses: list[Tensor] = []
    for loss in (giou_loss, generalized_box_iou_loss):
        one = some.clone().requires_grad_()
        losses.append(loss(one, others))
        losses.append(torch.autograd.grad(losses[-1].sum(), one)[0])
    torch.testing.assert_close(losses[0], losses[2])
    torch.testing.assert_close(losses[1], losses[3])


@given(boxes(0, 12), st.integers(0, 3))
def test_suppression_equals_torchvisions_by_class(some: Tensor, classes: int) -> None:
    rng = np.random.default_rng(len(some))
    scores = torch.from_numpy(rng.permutation(len(some)) / 20.0).float()
    labels = torch.from_numpy(rng.integers(0, classes + 1, len(some)))
    kept = class_nms(some, scores, labels, 0.4, 100)
    assert kept.tolist() == batched_nms(some, scores, labels, 0.4).tolist()


@given(st.lists(boxes(0, 30), min_size=1, max_size=3), st.floats(0.1, 0.9), st.integers(0, 2))
def test_suppression_of_a_batch_equals_that_of_each_picture(
    pictures: list[Tensor], threshold: float, classes: int
) -> None:
    rng = np.random.default_rng(len(pictures[0]))
    scores = [torch.linspace(1, 0.5, len(some)) for some in pictures]
    labels = [torch.from_numpy(rng.integers(0, classes + 1, len(some))) for some in pictures]
    real = padded([torch.ones(len(some), dtype=torch.bool) for some in pictures], False)
    kept = suppress(padded(pictures), real, padded(labels), threshold, 8)
    for n, some in enumerate(pictures):
        wanted = batched_nms(some, scores[n], labels[n], threshold)[:8]
        assert kept.index[n][kept.real[n]].tolist() == wanted.tolist()


def test_a_chain_of_boxes_is_followed_to_its_end() -> None:
    corner = torch.arange(40.0) * 4
    row = torch.stack([corner, corner * 0, corner + 10, corner * 0 + 10], 1)[None]
    kept = suppress(row, torch.ones(1, 40, dtype=torch.bool), None, 0.3, 40)
    assert kept.index[kept.real].tolist() == list(range(0, 40, 2)), "each yields to the one before"


@pytest.mark.parametrize(
    "rules",
    [
        Suppression(0.3, 0.0, 20), Suppression(0.3, 0.3, 20, vote=0.5),
        Suppression(0.3, 0.2, 20, kind="linear"), Suppression(0.3, 0.2, 20, kind="gaussian"),
    ],
)  # fmt: skip
def test_the_best_boxes_of_a_batch_are_those_of_each_picture(rules: Suppression) -> None:
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 50, (2, 40, 3, 2))
    places = torch.tensor(
        np.concatenate([corner, corner + rng.uniform(0, 30, corner.shape)], 3)
    ).float()
    places[0, 3:9, :, 2:] = places[0, 3:9, :, :2]  # without area
    scores = torch.tensor(rng.permutation(240).reshape(2, 40, 3) / 240).float()
    labels = torch.arange(3).expand(2, 40, 3).flatten(1)
    found = best_of_batch(places.reshape(2, -1, 4), scores.flatten(1), labels, rules)
    for n in range(2):
        boxes_, scores_, labels_ = best_boxes(places[n], scores[n], rules)
        real = found.scores[n] >= 0
        assert torch.equal(found.scores[n][real], scores_)
        assert torch.equal(found.labels[n][real], labels_)
        torch.testing.assert_close(found.boxes[n][real], boxes_)


def test_the_best_boxes_are_chosen_a_class_at_a_time() -> None:
    where = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 11]], [[1, 0, 10, 10], [50, 50, 60, 60]]])
    scores = torch.tensor([[0.9, 0.3], [0.8, 0.02]])
    kept, score, label = best_boxes(where, scores, Suppression(0.5, 0.1, 10))
    assert score.tolist() == pytest.approx([0.9, 0.3]) and label.tolist() == [0, 1]
    assert kept.tolist() == [[0, 0, 10, 10], [0, 0, 10, 11]]
    agnostic, _, label = best_boxes(where[:, :1], scores, Suppression(1.0, 0.1, 10))
    assert label.tolist() == [0, 0, 1] and agnostic[2].tolist() == [0, 0, 10, 10]
    assert len(best_boxes(where, scores, Suppression(0.5, 0.1, 1))[0]) == 1


def bodla(boxes: Tensor, scores: Tensor, kind: str, iou: float, sigma: float) -> list[Any]:
    """Soft-NMS as figure 2 of Bodla et al. 2017 has it, of one class: (box, score), best first."""
    left = [(box.tolist(), score) for box, score in zip(boxes, scores.tolist(), strict=True)]
    found: list[Any] = []
    while left:
        best = max(left, key=lambda one: one[1])
        left.remove(best)
        found.append(best)
        overlaps = [float(box_iou(torch.tensor([best[0]]), torch.tensor([one[0]]))) for one in left]
        fall = [
            math.exp(-(u**2) / sigma) if kind == "gaussian" else 1 - u if u > iou else 1.0
            for u in overlaps
        ]
        left = [(box, score * f) for (box, score), f in zip(left, fall, strict=True)]
    return found


@given(boxes(1, 9), st.sampled_from(["linear", "gaussian"]), st.floats(0.2, 0.8))
@settings(max_examples=30, deadline=None)
def test_scores_fall_as_in_soft_nms(some: Tensor, kind: str, number: float) -> None:
    scores = torch.linspace(0.9, 0.5, len(some))[torch.randperm(len(some))]
    labels = torch.arange(len(some)) % 2
    rules = Suppression(number, 0.05, 20, kind=kind, sigma=number)
    kept, score, label = suppressed(some, scores, labels, rules)
    each = [bodla(some[labels == k], scores[labels == k], kind, number, number) for k in (0, 1)]
    wanted = sorted((s for found in each for _, s in found if s >= 0.05), reverse=True)
    assert score.tolist() == pytest.approx(wanted, abs=1e-5)
    for box, value, k in zip(kept.tolist(), score.tolist(), label.tolist(), strict=True):
        assert any(box == b and value == pytest.approx(s, abs=1e-5) for b, s in each[k])


def test_boxes_that_overlap_vote_by_their_scores() -> None:
    where = torch.tensor([[[0.0, 0, 10, 10]], [[0.0, 0, 10, 14]], [[0.0, 0, 40, 40]]])
    scores = torch.tensor([[0.6, 0.0], [0.2, 0.5], [0.1, 0.0]])
    kept, score, label = best_boxes(where, scores, Suppression(0.5, 0.05, 10, vote=0.6))
    assert score.tolist() == pytest.approx([0.6, 0.5, 0.1]) and label.tolist() == [0, 1, 0]
    assert kept[0].tolist() == pytest.approx([0, 0, 10, 11])
    assert kept[1].tolist() == [0, 0, 10, 14], "other classes have no vote"
    assert kept[2].tolist() == [0, 0, 40, 40]


def test_votes_are_counted_in_full_precision_in_a_pass_of_bf16() -> None:
    where = torch.tensor([[[300.0, 201, 413, 437]], [[303.0, 204, 409, 441]]])
    scores = torch.tensor([[0.9], [0.6]])
    plain = best_boxes(where, scores, Suppression(0.5, 0.05, 10, vote=0.6))[0]
    with torch.autocast("cpu", torch.bfloat16):
        kept = best_boxes(where, scores, Suppression(0.5, 0.05, 10, vote=0.6))[0]
    assert len(kept) == 1 and torch.equal(kept, plain)
    assert kept[0, 0].item() == pytest.approx((300 * 0.9 + 303 * 0.6) / 1.5, abs=1e-3)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("count", [1, 601, 700, 1500])
def test_suppression_in_blocks_is_torchvisions_to_the_bit(count: int, threshold: float) -> None:
    rng = np.random.default_rng(count)
    # whole numbers and few scores: many overlaps lie on the threshold, many scores are equal
    corner = rng.integers(0, 60, (count, 2))
    boxes = torch.tensor(np.concatenate([corner, corner + rng.integers(0, 40, (count, 2))], 1))
    scores = torch.tensor(rng.integers(0, 50, count) / 50, dtype=torch.float32)
    wanted = torchvision_nms(boxes.float(), scores, threshold)
    for most in (5, 200, 10_000):
        assert torch.equal(nms(boxes.float(), scores, threshold, most), wanted[:most])
    near = boxes + torch.tensor(rng.normal(0, 0.1, (count, 4)))
    wanted = torchvision_nms(near.float(), scores, threshold)
    assert torch.equal(nms(near.float(), scores, threshold, count), wanted)
