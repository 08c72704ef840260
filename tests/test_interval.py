"""Intervals of scores: against scipy, against counting pictures twice, and how often they hold."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from box_sets import scene
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xfer.errors import DataError
from xfer.metrics.accuracy import Accuracy
from xfer.metrics.detection import DetectionAP
from xfer.metrics.detection_counts import matches_of
from xfer.metrics.interval import bootstrap, interval_of, wilson
from xfer.metrics.miou import MeanIoU
from xfer.metrics.multilabel import MultiLabelAP
from xfer.metrics.resampled import Ratios, draws_for, read, resample

FIGURES = ["coco_ap", "coco_ap50", "coco_ap75", "voc_ap50_11pt", "voc_ap50_area"]


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_that_of_scipy(n: int, share: float, level: float) -> None:
    correct = round(share * n)
    own, other = wilson(correct, n, level), stats.binomtest(correct, n)
    expected = other.proportion_ci(level, method="wilson")
    assert own is not None
    assert (own.low, own.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= own.low <= correct / n <= own.high <= 1
    assert own.method == f"Wilson score interval, {round(level * 100)} %"


def test_wilson_holds_as_often_as_it_says() -> None:
    assert wilson(0, 0) is None
    # over all shares, weighted equally: each exactly, by the binomial distribution
    n, shares = 40, np.linspace(0.02, 0.98, 97)
    holds = np.zeros(len(shares))
    for correct in range(n + 1):
        own = wilson(correct, n)
        assert own is not None
        inside = (own.low <= shares) & (shares <= own.high)
        holds += stats.binom.pmf(correct, n, shares) * inside
    assert 0.94 < holds.mean() < 0.965 and holds.min() > 0.83


def test_the_bootstrap_of_a_mean_is_that_of_scipy() -> None:
    values = np.random.default_rng(3).gamma(2, 1, 80)
    own = bootstrap(Ratios.of_values(values), draws=4000)
    other = stats.bootstrap((values,), np.mean, n_resamples=4000, method="BCa", rng=1)
    assert own is not None
    width = own.high - own.low
    # scipy's has the acceleration too, which moves both ends up a little
    assert own.low == pytest.approx(other.confidence_interval.low, abs=0.08 * width)
    assert own.high == pytest.approx(other.confidence_interval.high, abs=0.08 * width)
    assert own == bootstrap(Ratios.of_values(values), draws=4000)
    assert own != bootstrap(Ratios.of_values(values), draws=4000, seed=1)
    assert "4000 draws, seed 0, 95 %" in own.method


def test_the_bootstrap_holds_about_as_often_as_it_says() -> None:
    """Mean IoU of pictures whose classes have their own sizes and shares: 95 % promised."""
    rng = np.random.default_rng(0)

    def pictures(count: int) -> Ratios:
        shape = (count, 3)
        true = rng.gamma(2, 1000, shape) * (rng.random(shape) < (1, 0.7, 0.5))
        right = true * rng.beta([9.0, 7, 5], [1.0, 3, 5], shape)
        return Ratios(right, true + rng.gamma(0.5, 300, shape), true)

    truth = float(pictures(200_000).scores(np.ones((1, 200_000), np.int64))[0])
    found = [bootstrap(pictures(60), draws=200) for _ in range(300)]
    holds = np.mean([one is not None and one.low <= truth <= one.high for one in found])
    assert 0.89 < holds < 0.985


def detections(seed: int, figure: str, images: int = 12) -> DetectionAP:
    true, said = scene(seed, images=images, classes=3)
    metric = DetectionAP([str(c) for c in range(3)], figure)
    metric.add([f"{i:03}" for i in range(images)], true, said)
    return metric


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(FIGURES))
def test_each_picture_once_is_the_score_of_a_detector(seed: int, figure: str) -> None:
    metric = detections(seed, figure)
    counts = metric.per_picture()
    assert counts is not None
    (own,) = counts.scores(np.ones((1, counts.pictures), np.int64))
    try:
        assert own == pytest.approx(metric.compute()[figure], abs=1e-9)
    except DataError:
        assert math.isnan(own)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(FIGURES))
def test_copies_score_as_the_set_with_these_pictures_twice(seed: int, figure: str) -> None:
    images = 10
    true, said = scene(seed, images=images, classes=3)
    # no equal scores: their order is by pictures, which copies change
    said.score[:] = np.random.default_rng(seed).permutation(len(said)) / max(1, len(said))
    counts = matches_of(true, said, images, figure)
    assert counts is not None
    copies = np.random.default_rng(seed).integers(0, 3, images)
    metric = DetectionAP([str(c) for c in range(3)], figure)
    for number in range(2):
        for i in np.flatnonzero(copies > number).tolist():
            t, f = true.take(true.image == i), said.take(said.image == i)
            t.image[:], f.image[:] = 0, 0
            metric.add([f"{i}/{number}"], t, f)
    (own,) = counts.scores(copies[None])
    kept = counts.take(np.flatnonzero(copies))
    assert kept.scores(copies[copies > 0][None])[0] == pytest.approx(own, nan_ok=True)
    try:
        assert own == pytest.approx(metric.compute()[figure], abs=1e-9)
    except DataError:
        assert math.isnan(own)


def test_each_picture_once_is_the_score_of_labels_and_masks() -> None:
    rng = np.random.default_rng(0)
    ids = [f"p{i}" for i in range(40)]
    labels = MultiLabelAP(["a", "b", "c"])
    # one decimal: many equal scores
    labels.add(rng.random((40, 3)).round(1), rng.integers(-1, 2, (40, 3)), ids)
    masks = MeanIoU(["a", "b", "c"])
    for name in ids:
        masks.add(rng.integers(0, 3, (6, 5)).astype(np.uint8),
                  rng.choice([0, 1, 255], (6, 5)).astype(np.uint8), name)  # fmt: skip
    one = Accuracy([str(c) for c in range(9)])
    one.add(rng.random((40, 9)), rng.integers(0, 8, 40), ids)
    for metric, figures in (
        (labels, ["map"]), (masks, ["miou", "pixel_acc", "mean_class_acc"]),
        (one, ["top1", "top5", "loss", "mean_class_acc"]),
    ):  # fmt: skip
        assert metric.per_picture("nonsense") is None and metric.interval("nonsense") is None
        for figure in figures:
            counts = metric.per_picture(figure)
            assert counts is not None
            own = counts.scores(np.ones((1, counts.pictures), np.int64))[0]
            assert own == pytest.approx(metric.compute()[figure], rel=1e-6)
            interval = metric.interval(figure)
            assert interval is not None and interval.low < own < interval.high
            again = read(counts.arrays())
            copies = rng.integers(0, 3, (4, counts.pictures))
            assert again.scores(copies) == pytest.approx(counts.scores(copies))


def test_what_is_read_belongs_together() -> None:
    counts = detections(1, "coco_ap").per_picture()
    assert counts is not None
    arrays = counts.arrays()
    again = read(arrays).scores(np.ones((1, 12), np.int64))
    assert again == pytest.approx(counts.scores(np.ones((1, 12), np.int64)), abs=1e-6)
    for key, value in (
        ("image", arrays["image"] + 99), ("score", arrays["score"][1:]),
        ("thresholds", np.array(9)), ("curve", np.array("round")),
        ("true_image", arrays["true_image"][1:]),
    ):  # fmt: skip
        with pytest.raises(DataError, match="don't belong together"):
            read({**arrays, key: value})
    with pytest.raises(DataError, match="don't belong together"):
        read({"part": np.ones((2, 2)), "whole": np.ones((2, 3)), "counts": np.ones((2, 2))})


def test_scores_without_an_interval() -> None:
    assert detections(1, "coco_ap_small").interval() is None
    assert bootstrap(Ratios.of_values(np.ones(1))) is None
    assert bootstrap(Ratios.of_values(np.full(5, np.nan))) is None
    assert bootstrap(None) is None and Accuracy(["a"]).interval() is None
    assert MeanIoU(["a"]).interval() is None and MultiLabelAP(["a"]).interval() is None


class Own:
    """A metric of a user's own, without an interval."""

    primary = "distance"

    def __init__(self, values: list[Any], score: float | None = None) -> None:
        self.values = values
        self.score = float(np.mean(values)) if score is None else score

    def rows(self) -> list[dict[str, Any]]:
        return [{"id": str(i), "distance": v} for i, v in enumerate(self.values)]

    def compute(self) -> dict[str, Any]:
        return {"distance": self.score}


def test_a_metric_of_ones_own_has_the_interval_of_its_rows_mean() -> None:
    values = list(np.random.default_rng(0).random(30))
    own = interval_of(Own(values))
    assert own is not None and own.low < np.mean(values) < own.high
    assert interval_of(Own(values, score=0.9)) is None  # it is no mean of its rows
    assert interval_of(Own(["near", "far"], 0.5)) is None and interval_of(Own([], 0.5)) is None


def test_a_large_set_takes_a_second() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 1000, (2000, 150))
    start = time.process_time()
    counts = Ratios(table, table + 5, table)
    assert 200 <= draws_for(counts) <= 1000
    assert bootstrap(counts) is not None
    assert time.process_time() - start < 2
    # what a row is scored as does not depend on the others
    values = resample(2000, counts.cost, 30, 0, counts.scores)
    assert np.array_equal(values[:4], resample(2000, 10**6, 30, 0, counts.scores)[:4])
