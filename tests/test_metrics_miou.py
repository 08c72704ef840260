"""Mean IoU and boundary F, against scikit-learn, a slow reading of the definition, and by law."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

from xfer.errors import DataError, XferError
from xfer.metrics.boundary import TOLERANCE, boundary_counts, boundary_f
from xfer.metrics.miou import MeanIoU
from xfer.types import Batch, MaskPrediction

NAMES = ("background", "a", "b", "c")
C = len(NAMES)
Mask = NDArray[np.uint8]


def masks(values: tuple[int, ...]):
    return hnp.arrays(
        np.uint8,
        st.shared(st.tuples(st.integers(1, 14), st.integers(1, 14)), key="size"),
        elements=st.sampled_from(values),
    )


PAIRS = st.tuples(masks((0, 1, 2, 255)), masks((0, 1, 2, 3)))


def counted(pairs: list[tuple[Mask, Mask]], first: int = 0) -> MeanIoU:
    metric = MeanIoU(NAMES)
    for i, (truth, said) in enumerate(pairs, first):
        metric.add(said, truth, f"p{i}")
    return metric


def score(measure: Any, truth: Mask, said: Mask, there: Mask) -> NDArray[np.float64]:
    """scikit-learn's measure of each class that occurs in the truth."""
    return measure(truth, said, labels=there, average=None, zero_division=0)


@settings(max_examples=40, deadline=None)
@given(st.lists(PAIRS, min_size=1, max_size=4))
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[Mask, Mask]]) -> None:
    truth = np.concatenate([t.ravel() for t, _ in pairs])
    said = np.concatenate([s.ravel() for _, s in pairs])
    truth, said = truth[truth != 255], said[truth != 255]
    metric = counted(pairs)
    if not len(truth):
        with pytest.raises(DataError, match="no picture has a labelled pixel"):
            metric.compute()
        return
    scores = metric.compute()
    there = np.unique(truth)
    matrix = confusion_matrix(truth, said, labels=range(C))
    assert np.array_equal(metric.confusion, matrix)
    iou = score(jaccard_score, truth, said, there)
    weights = np.bincount(truth)[there] / len(truth)
    assert scores["miou"] == pytest.approx(np.mean(iou))
    assert scores["fw_iou"] == pytest.approx(np.dot(iou, weights))
    assert scores["pixel_acc"] == pytest.approx(accuracy_score(truth, said))
    recalls = score(recall_score, truth, said, there)
    assert scores["mean_class_acc"] == pytest.approx(recalls.mean())
    for c, name in enumerate(NAMES):
        row = scores["per_class"][name]
        assert row["n"] == (truth == c).sum()
        assert row["iou"] == (pytest.approx(iou[there == c][0]) if c in there else None)


@settings(max_examples=40, deadline=None)
@given(st.lists(PAIRS, min_size=2, max_size=6), st.integers(1, 5), st.randoms())
def test_any_division_and_order_gives_the_same(
    pairs: list[tuple[Mask, Mask]], cut: int, random: object
) -> None:
    if all((truth == 255).all() for truth, _ in pairs):
        return
    whole = counted(pairs)
    parts = [counted(pairs[cut:], cut), counted(pairs[:cut])]
    merged = MeanIoU(NAMES)
    merged.load_states([part.state() for part in parts])
    assert merged.compute() == whole.compute()
    assert merged.rows() == whole.rows()
    assert merged.protocol() == whole.protocol()
    assert [e.id for e in merged.examples()] == [e.id for e in whole.examples()]


@given(PAIRS, masks((0, 1, 2, 3)))
def test_what_is_said_of_ignored_pixels_never_counts(pair: tuple[Mask, Mask], other: Mask) -> None:
    truth, said = pair
    changed = np.where(truth == 255, other, said)
    assert np.array_equal(
        counted([(truth, said)]).state()["boundary"],
        counted([(truth, changed)]).state()["boundary"],
    )
    assert np.array_equal(counted([(truth, said)]).confusion, counted([(truth, changed)]).confusion)


@given(masks((0, 1, 2, 255)))
def test_the_truth_itself_scores_one(truth: Mask) -> None:
    labelled = truth != 255
    if not labelled.any():
        return
    scores = counted([(truth, np.where(labelled, truth, 0))]).compute()
    assert scores["miou"] == scores["pixel_acc"] == scores["fw_iou"] == 1
    assert scores["boundary_f"] in (1, None)


def slow_counts(truth: Mask, said: Mask, classes: int, reach: float) -> NDArray[np.int64]:
    """The definition read pixel by pixel, for masks without ignored pixels."""

    def edges(mask: Mask, c: int) -> list[tuple[int, int]]:
        height, width = mask.shape
        return [
            (y, x)
            for y in range(height)
            for x in range(width)
            if mask[y, x] == c
            and any(
                0 <= v < height and 0 <= u < width and mask[v, u] != c
                for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            )
        ]

    counts = np.zeros((4, classes), np.int64)
    for c in range(classes):
        one, two = edges(truth, c), edges(said, c)
        for row, (own, other) in ((0, (one, two)), (2, (two, one))):
            near = [min((math.dist(p, q) for q in other), default=np.inf) <= reach for p in own]
            counts[row, c], counts[row + 1, c] = len(own), sum(near)
    return counts


@settings(deadline=None, max_examples=60)
@given(masks((0, 1, 2)), masks((0, 1, 2, 3)), st.floats(0, 6))
def test_boundary_counts_are_the_definition(truth: Mask, said: Mask, reach: float) -> None:
    from xfer.metrics import boundary

    tolerance = reach / math.hypot(*truth.shape)
    before, boundary.TOLERANCE = boundary.TOLERANCE, tolerance
    try:
        found = boundary_counts(truth, said, C)
    finally:
        boundary.TOLERANCE = before
    exact = tolerance * math.hypot(*truth.shape)
    assert np.array_equal(found, slow_counts(truth, said, C, exact))


def half(where: int, size: tuple[int, int] = (300, 400)) -> Mask:
    mask = np.zeros(size, np.uint8)
    mask[:, where:] = 1
    return mask


def test_the_tolerance_is_a_share_of_the_diagonal() -> None:
    # the diagonal is 500 pixels, the tolerance 3.75: the outline may be 3 pixels away, not 4
    assert TOLERANCE * 500 == 3.75
    scores = [counted([(half(200), half(200 + n))]).compute()["boundary_f"] for n in range(6)]
    assert scores == [1, 1, 1, 1, 0, 0]


def test_an_ignored_band_leaves_the_outline_where_it_is() -> None:
    # VOC draws 255 around its objects: the outline is thought in the middle of the band
    truth = half(200)
    truth[:, 197:203] = 255
    assert counted([(truth, half(200))]).compute()["boundary_f"] == 1
    assert counted([(truth, half(206))]).compute()["boundary_f"] < 1


def test_outlines_deep_inside_what_is_ignored_are_not_scored() -> None:
    truth = half(200)
    truth[:, 150:250] = 255
    assert counted([(truth, half(200))]).compute()["boundary_f"] is None


@given(hnp.arrays(np.int64, (4, 3), elements=st.integers(0, 50)))
def test_boundary_f_is_the_harmonic_mean(counts: NDArray[np.int64]) -> None:
    counts[1] = np.minimum(counts[0], counts[1])
    counts[3] = np.minimum(counts[2], counts[3])
    for c, found in enumerate(boundary_f(counts)):
        true, hit, said, right = (int(v) for v in counts[:, c])
        if not true:
            assert found is None
        elif not hit or not right:
            assert found == 0
        else:
            assert found == pytest.approx(2 / (true / hit + said / right))


def test_more_classes_than_bits_in_a_word() -> None:
    truth = np.arange(200, dtype=np.uint8).reshape(10, 20)
    counts = boundary_counts(truth, truth, 200)
    assert np.array_equal(counts, np.ones((4, 200), np.int64))


def test_update_reads_the_batch_and_refuses_what_does_not_fit() -> None:
    truth = half(5, (8, 10))
    said = MaskPrediction("x", half(5, (8, 10)), (8, 10))
    images = torch.zeros(1, 3, 8, 10, dtype=torch.uint8)
    metric = MeanIoU(("a", "b"))
    metric.update([said], Batch(images, ("x",), {"masks": [torch.from_numpy(truth)]}))
    assert metric.compute()["miou"] == 1
    for targets, message in (
        ({}, "have no masks"),
        ({"masks": [truth, truth]}, "don't belong together"),
        ({"masks": [truth[:4]]}, r"x: a prediction of \(8, 10\) for a mask of \(4, 10\)"),
        ({"masks": [truth + 3]}, "x: the mask holds 3"),
        ({"masks": [truth.astype(int)]}, "uint8"),
    ):
        with pytest.raises(XferError, match=message):
            metric.update([said], Batch(images, ("x",), targets))
    wrong = MaskPrediction("x", truth + 1, (8, 10))
    with pytest.raises(XferError, match="the prediction holds 2"):
        metric.update([wrong], Batch(images, ("x",), {"masks": [truth]}))


def test_examples_and_rows_tell_of_each_picture() -> None:
    good, bad = half(5, (8, 10)), half(9, (8, 10))
    metric = MeanIoU(("left", "right"))
    metric.add(good, good, "p10")
    metric.add(bad, good, "p9")
    metric.add(bad, np.full_like(good, 255), "p2")
    assert [r["id"] for r in metric.rows()] == ["p2", "p9", "p10"]
    assert metric.rows()[0] == {"id": "p2", "miou": None, "pixel_acc": None}
    worst, best = metric.examples()
    assert (worst.good, best.good) == (False, True)
    assert worst.lines == ("mIoU 0.38", "worst: right 0.20")
    assert worst.masks is not None
    truth, said = worst.masks.unpack()
    assert np.array_equal(truth, good)
    assert np.array_equal(said, bad)


def test_protocol_says_which_classes_count() -> None:
    metric = counted([(np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8))])
    assert "the 1 of 4 classes that occur" in metric.protocol()["miou"]
    assert "including background" in metric.protocol()["miou"]
    assert "Csurka" in metric.protocol()["boundary_f"]


def test_a_picture_of_480_by_360_takes_milliseconds() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 11, (18, 24), np.uint8)
    truth = np.kron(blocks, np.ones((20, 20), np.uint8))
    truth[::40] = 255
    said = np.roll(np.where(truth == 255, 3, truth), 3, 1).astype(np.uint8)
    metric = MeanIoU([str(c) for c in range(11)])
    times: list[float] = []
    for i in range(8):
        start = time.thread_time()
        metric.add(said, truth, f"p{i}")
        times.append(time.thread_time() - start)
    assert min(times) < 0.02
