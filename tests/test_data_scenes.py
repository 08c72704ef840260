"""Scenes of digits: exact boxes and masks, made of the split's own digits, always the same."""

from __future__ import annotations

import numpy as np
import pytest

from xfer.data.open import open_data
from xfer.data.readers.digits.pictures import CLASSES, digits
from xfer.data.readers.digits.scenes import COUNT, HEIGHT, SCENES, SIDE, SceneSource, scenes
from xfer.data.sources.base import Bundle
from xfer.kinds.annotation import annotation
from xfer.testing.source import check_source


def small(split: str = "train", kind: str = "detect", count: int = 40) -> SceneSource:
    part = digits().parts[split]
    samples = [part[i] for i in range(len(part))]
    ink = np.stack([sample.image[:, :, 0] for sample in samples])
    labels = np.array([sample.label for sample in samples], np.int64)
    return SceneSource(split, ink, labels, count, kind)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_data("digits", kind="detect", check=False)


def test_the_wanted_kind_decides_what_digits_are() -> None:
    assert open_data("digits").kind == "classify"
    assert open_data("digits", kind=("classify", "multilabel")).kind == "classify"
    masks = open_data("digits", kind="segment", check=False)
    assert masks.kind == "segment" and masks.classes == ("background", *CLASSES)


def test_there_are_so_many_of_each_split(bundle: Bundle) -> None:
    assert {role: len(s) for role, s in bundle.splits.items()} == SCENES
    assert bundle.classes == CLASSES and bundle.kind == "detect"


@pytest.mark.parametrize("kind", ["detect", "segment"])
def test_scenes_keep_the_contract(kind: str) -> None:
    for split in ("train", "val"):
        check_source(small(split, kind))


def test_numbers_and_heights_are_in_their_ranges(bundle: Bundle) -> None:
    for source in bundle.splits.values():
        found = [annotation(source, i).xyxy for i in range(len(source))]
        counts = [len(boxes) for boxes in found]
        assert min(counts) >= COUNT[0] and max(counts) <= COUNT[1]
        heights = np.concatenate([boxes[:, 3] - boxes[:, 1] for boxes in found])
        # what a later digit hides may take a pixel or two from the smallest
        assert heights.min() >= HEIGHT[0] - 2 and heights.max() <= HEIGHT[1]
        assert (heights < 16).mean() > 0.05 and (heights > 48).mean() > 0.1
    present = bundle.splits["val"].labels().sum(0)
    assert present.min() > 30


def test_boxes_are_tight_around_the_masks_of_the_same_scene() -> None:
    boxes, masks = small(), small(kind="segment")
    assert boxes.placed == masks.placed
    for i in range(len(boxes)):
        found, mask, own = boxes.annotation(i), masks[i].mask, boxes[i].image
        assert mask is not None and np.array_equal(own, masks[i].image)
        drawn = np.zeros((SIDE, SIDE), bool)
        for (x1, y1, x2, y2), label in zip(found.xyxy.astype(int), found.labels, strict=True):
            inside = mask[y1:y2, x1:x2] == label + 1
            assert inside[0].any() and inside[-1].any()
            assert inside[:, 0].any() and inside[:, -1].any()
            drawn[y1:y2, x1:x2] = True
        assert not (mask[~drawn] > 0).any()
        assert (mask > 0).sum() == found.area.sum()


def test_digits_stand_out_from_what_is_around_them() -> None:
    source, masks = small(), small(kind="segment")
    for i in range(10):
        sample, mask = source[i], masks[i].mask
        assert sample.boxes is not None and mask is not None
        for x1, y1, x2, y2 in sample.boxes.xyxy.astype(int):
            if y2 - y1 < 16:
                continue
            grey, own = sample.image[y1:y2, x1:x2].mean(2), mask[y1:y2, x1:x2] > 0
            if own.all():
                continue
            assert abs(np.median(grey[own]) - np.median(grey[~own])) > 10


def test_some_digits_touch_and_none_lies_over_another_one(bundle: Bundle) -> None:
    touching = 0
    for i in range(100):
        boxes = annotation(bundle.splits["train"], i).xyxy
        for k in range(len(boxes)):
            for other in boxes[k + 1 :]:
                size = np.minimum(boxes[k, 2:], other[2:]) - np.maximum(boxes[k, :2], other[:2])
                shared = max(0, size[0]) * max(0, size[1])
                areas = [np.prod(b[2:] - b[:2]) for b in (boxes[k], other)]
                assert shared <= 0.4 * min(areas)
                touching += bool((size >= 0).all())
    assert touching > 50


def test_val_is_made_of_digits_that_train_has_not() -> None:
    parts = digits().parts
    assert not set(parts["train"].ids) & set(parts["val"].ids)
    found = scenes("detect").parts
    for split, source in found.items():
        assert isinstance(source, SceneSource)
        own = parts[split]
        assert len(source.ink) == len(own)
        assert np.array_equal(source.ink[7], own[7].image[:, :, 0])


def test_the_same_scenes_every_time() -> None:
    first, again = small(count=12), small(count=12)
    assert first.fingerprint() == again.fingerprint() and first.placed == again.placed
    assert np.array_equal(first[5].image, again[5].image)
    assert first.placed == small(count=40).placed[:12]
    assert first.fingerprint() != small("val", count=12).fingerprint()
