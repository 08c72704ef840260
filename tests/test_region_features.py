"""Regions as pictures: their labels, how they are cut, and features of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import NearestCentroid

import xfer
from xfer.cli.app import main
from xfer.errors import XferError
from xfer.proposals.propose import propose
from xfer.proposals.region_source import CONTEXT, RegionSource, labelled, warped
from xfer.testing import check_source
from xfer.testing.scenes import ShapeScenes

COLOUR = [120.0, 110.0, 100.0]


def regions_of(source: ShapeScenes, most: int = 12) -> RegionSource:
    proposals = propose(source, "grid", max_boxes=most)
    return RegionSource(source, proposals, 64, 56, COLOUR)


def iou(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    x1, y1, x2, y2 = (*np.maximum(one[:2], two[:2]), *np.minimum(one[2:], two[2:]))
    both = max(0.0, float(x2 - x1)) * max(0.0, float(y2 - y1))
    areas = [float((b[2] - b[0]) * (b[3] - b[1])) for b in (one, two)]
    return both / (sum(areas) - both)


def test_regions_keep_the_contract_of_a_source() -> None:
    source = ShapeScenes(4, step=8, empty=3, crowds=True)
    regions = regions_of(source)
    check_source(regions, samples=60)
    assert regions.info.classes == (*source.info.classes, "background")
    other = regions_of(source, 11)
    assert regions.fingerprint() == regions_of(source).fingerprint() != other.fingerprint()


def test_true_boxes_have_their_class_and_far_regions_are_background() -> None:
    source = ShapeScenes(6, crowds=True)
    proposals = propose(source, "grid", max_boxes=60)
    for i in range(len(source)):
        truth = source.annotation(i)
        boxes, labels = labelled(truth, proposals.of(i), 2)
        own = ~truth.crowd
        count = int(own.sum())
        assert labels[:count].tolist() == truth.labels[own].tolist()
        assert np.array_equal(boxes[:count], truth.xyxy[own].astype(np.float32))
        for box, label in zip(boxes[count:], labels[count:].tolist(), strict=True):
            far = all(iou(box, one) < 0.3 for one in truth.xyxy.astype(np.float32))
            assert label == (2 if far else -1)


def test_a_box_fills_the_middle_of_what_the_net_sees_with_sixteen_pixels_around() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:60, 50:150] = 255
    box = np.array([50, 20, 150, 60], np.float32)
    side, shown = 256, 227
    reach = side / shown / (1 - 2 * CONTEXT)
    cut = warped(image, box, reach, side, (0, 0, 0))
    seen = cut[14:241, 14:241, 0] > 127  # the square of 227 pixels in the middle
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    for line in (rows, columns):
        assert abs(line[0] - 16) <= 2 and abs(226 - line[-1] - 16) <= 2
    # what lies beyond the picture has the mean colour
    corner = warped(image, np.array([0, 0, 40, 40], np.float32), reach, side, (7, 8, 9))
    assert corner[0, 0].tolist() == [7, 8, 9] and corner[100, 100].tolist() == [0, 0, 0]


def test_features_of_regions_are_learned_by_a_classifier_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.npz"
    words = "--data digits --proposals grid --most 4 --limit 3 --weights none --backbone alexnet_bn"
    given = ["features", "-l", "conv2", "--pool", "avg", *words.split(), "--json", "-o", str(file)]
    assert main(given) == 0
    assert json.loads(capsys.readouterr().out)["computed"] > 0
    found = np.load(file)
    y, classes = found["y"], found["classes"].tolist()
    assert classes[-1] == "background" and {-1, 10} >= set(y.tolist()) - set(range(10))
    known = y >= 0
    assert len(set(y[known].tolist())) > 1
    NearestCentroid().fit(found["conv2"][known], y[known])
    assert main(["probe", str(file), "--clf", "logreg"]) == 2
    assert "features of regions" in capsys.readouterr().err


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(XferError, match="unknown proposals 'grit'"):
        xfer.features("digits", weights="none", proposals="grit")
