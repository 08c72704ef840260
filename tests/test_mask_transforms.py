"""Pictures with masks on their way to the net: aligned, never mixed, drawn by the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.data.transforms.masks import (
    MaskStatistics,
    MaskTransform,
    class_weights,
    mask_statistics,
)
from xfer.errors import XferError
from xfer.testing.mask_scenes import MaskScenes
from xfer.types import Sample

GREY = (124.0, 116.0, 104.0)


def blocks(height: int, width: int, side: int = 8) -> Sample:
    """Squares of one class each, whose colour is the class."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 4, (-(-height // side), -(-width // side)), np.uint8)
    mask = np.kron(mask, np.ones((side, side), np.uint8))[:height, :width]
    return Sample("blocks", np.repeat(mask[:, :, None] * 60, 3, 2), mask=mask)


@given(
    height=st.integers(20, 120), width=st.integers(20, 120), short=st.integers(16, 100),
    crop=st.integers(8, 90), seed=st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_cut_has_its_size_and_what_is_padded_is_ignored(
    height: int, width: int, short: int, crop: int, seed: int
) -> None:
    transform = MaskTransform(short, crop=crop, scales=(0.5, 2.0), augment="light", colour=GREY)
    sample = blocks(height, width)
    item = transform(sample, np.random.default_rng(seed))
    again = transform(sample, np.random.default_rng(seed))
    assert item.mask is not None and again.mask is not None
    assert item.image.shape == (crop, crop, 3) and item.mask.shape == (crop, crop)
    assert np.array_equal(item.image, again.image) and np.array_equal(item.mask, again.mask)
    h, w = item.shown
    assert (item.mask[h:] == 255).all() and (item.mask[:, w:] == 255).all()
    assert (item.image[h:] == np.array(GREY, np.uint8)).all()
    assert set(np.unique(item.mask[:h, :w])) <= {0, 1, 2, 3}


def test_picture_and_mask_stay_together() -> None:
    transform = MaskTransform(96, crop=64, scales=(0.7, 1.6), augment="light")
    sample = blocks(96, 128, 32)
    for seed in range(20):
        item = transform(sample, np.random.default_rng(seed))
        assert item.mask is not None
        h, w = item.shown
        # away from edges between classes, the colour is the class
        right = np.abs(item.image[:h, :w, 0] - item.mask[:h, :w] * 60.0) < 30
        assert right.mean() > 0.93, seed


def test_every_second_picture_is_mirrored() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4] = 200
    mask = (image[:, :, 0] > 0).astype(np.uint8)
    transform = MaskTransform(0, crop=8, augment="light")
    found = [transform(Sample("s", image, mask=mask), np.random.default_rng(s)) for s in range(200)]
    for item in found:
        assert item.mask is not None and np.array_equal(item.mask, item.image[:, :, 0] > 0)
    assert 70 < sum(int(item.image[0, 0, 0] == 0) for item in found) < 130
    still = MaskTransform(0, crop=8, augment="light", flip=False)
    assert still(Sample("s", image, mask=mask), np.random.default_rng(1)).image[0, 0, 0] == 200


def test_without_augmentation_the_middle_is_cut() -> None:
    sample = blocks(40, 60)
    item = MaskTransform(0, crop=20, augment="none")(sample, np.random.default_rng(0))
    assert sample.mask is not None and item.mask is not None
    assert np.array_equal(item.mask, sample.mask[10:30, 20:40])
    assert np.array_equal(item.image, sample.image[10:30, 20:40])


def test_whole_pictures_keep_their_shape_and_their_own_mask() -> None:
    sample = blocks(60, 90)
    item = MaskTransform(120)(sample, np.random.default_rng(0))
    assert item.image.shape == (120, 180, 3) and item.size == (60, 90) and item.shown == (120, 180)
    assert item.mask is sample.mask
    own = MaskTransform(0)(sample, np.random.default_rng(0))
    assert own.image.shape == (60, 90, 3)


def test_cuts_of_one_class_alone_are_drawn_again() -> None:
    mask = np.zeros((64, 640), np.uint8)
    mask[:, 300:340] = 1
    sample = Sample("s", np.zeros((64, 640, 3), np.uint8), mask=mask)

    def share(most: float) -> float:
        transform = MaskTransform(0, crop=64, augment="light", max_share=most)
        cuts = [transform(sample, np.random.default_rng(s)).mask for s in range(60)]
        return sum(bool((cut == 1).any()) for cut in cuts if cut is not None) / 60

    assert share(0.9) > 2 * share(1.0)


def test_the_sample_is_not_written_into() -> None:
    sample = blocks(50, 50)
    for array in (sample.image, sample.mask):
        assert array is not None
        array.setflags(write=False)
    MaskTransform(50, crop=32, augment="strong")(sample, np.random.default_rng(0))


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(XferError, match="unknown augmentation 'heavy'"):
        MaskTransform(0, augment="heavy")


def test_statistics_count_what_is_labelled() -> None:
    source = MaskScenes(6, (48, 64), 8, ignored=3)
    found = mask_statistics(source)
    masks = [source[i].mask for i in range(6)]
    for c in range(3):
        assert found.pixels[c] == sum(int((m == c).sum()) for m in masks if m is not None)
    assert found.short == 56
    labelled = sum(int((m != 255).sum()) for m in masks if m is not None)
    assert found.seen[0] == labelled


def test_rare_classes_weigh_more_but_not_without_bound() -> None:
    found = MaskStatistics(np.array([9000, 900, 90, 0]), np.array([10_000, 10_000, 10_000, 0]), 100)
    assert class_weights(found, 1.0).tolist() == pytest.approx([0.1, 1, 10, 1])
    assert class_weights(found, 0.5).tolist() == pytest.approx([0.1**0.5, 1, 10**0.5, 1])
    assert class_weights(found, 0.0).tolist() == [1, 1, 1, 1]
    extreme = MaskStatistics(np.array([10**8, 10**5, 1]), np.array([10**8] * 3), 100)
    assert class_weights(extreme, 1.0)[2] == 10
