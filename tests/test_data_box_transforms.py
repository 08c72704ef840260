"""Pictures with boxes: whatever happens to the picture happens to its boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.boxes import Boxes
from xfer.data.loading.collate import stack_padded
from xfer.data.transforms.boxes import BoxTransform, box_sizes, scale_of
from xfer.errors import XferError
from xfer.testing import check_source
from xfer.testing.scenes import ShapeScenes
from xfer.types import Sample


def one_square(height: int = 60, width: int = 90) -> Sample:
    """A white square at x 30..50, y 20..40 on black."""
    image = np.zeros((height, width, 3), np.uint8)
    image[20:40, 30:50] = 255
    return Sample("square", image, boxes=Boxes.of(np.array([[30, 20, 50, 40]], np.float32), [1]))


def bright(image: np.ndarray) -> np.ndarray:
    """xyxy of what is brighter than half."""
    rows, columns = np.nonzero(image[:, :, 1] > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_sides_are_bounded_as_in_fast_rcnn() -> None:
    assert scale_of(300, 500, 600, 1000) == 2
    assert scale_of(300, 600, 600, 1000) == pytest.approx(1000 / 600)
    assert scale_of(600, 300, 600, 1000) == pytest.approx(1000 / 600)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.booleans(), st.floats(0.3, 1), st.floats(0.5, 1.5))
def test_boxes_follow_the_picture(seed: int, flip: bool, area: float, scale: float) -> None:
    change = BoxTransform(
        120, 200, train=True, flip=flip, augment="light", area=(area, 1.0), scales=(scale, scale)
    )
    item = change(one_square(), np.random.default_rng(seed))
    if len(item.boxes):
        np.testing.assert_allclose(item.boxes[0], bright(item.image), atol=2.5)
    elif len(item.crowds):
        np.testing.assert_allclose(item.crowds[0], bright(item.image), atol=2.5)
    else:
        assert (item.image[2:-2, 2:-2] < 128).all()
    assert len(item.boxes) == len(item.labels)


def test_evaluation_is_not_random_and_keeps_the_pictures_own_boxes() -> None:
    sample = one_square()
    item = BoxTransform(120, 200)(sample, np.random.default_rng(0))
    assert item.image.shape == (120, 180, 3) and item.scale == (2.0, 2.0) and item.size == (60, 90)
    assert item.boxes.tolist() == [[60, 40, 100, 80]]
    assert item.annotation is not None
    assert item.annotation.xyxy.tolist() == [[30, 20, 50, 40]]


def test_the_same_generator_gives_the_same_item() -> None:
    change = BoxTransform(60, 99, train=True, area=(0.4, 1.0), scales=(0.8, 1.2))
    one, two = (change(one_square(), np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one.image, two.image) and np.array_equal(one.boxes, two.boxes)


def test_no_augmentation_is_evaluation() -> None:
    change = BoxTransform(60, 99, train=True, augment="none", area=(0.4, 1.0), scales=(0.8, 1.2))
    item = change(one_square(), np.random.default_rng(7))
    assert np.array_equal(item.image, one_square().image)
    with pytest.raises(XferError, match="unknown augmentation"):
        BoxTransform(60, 99, augment="lots")


def test_proposals_follow_as_well() -> None:
    def given_boxes(sample: Sample) -> np.ndarray:
        assert sample.boxes is not None
        return sample.boxes.xyxy

    change = BoxTransform(
        120, 200, train=True, area=(0.9, 1.0), scales=(0.7, 1.3), propose=given_boxes
    )
    for seed in range(20):
        item = change(one_square(), np.random.default_rng(seed))
        assert item.proposals is not None
        np.testing.assert_allclose(item.proposals, np.concatenate([item.boxes, item.crowds]))


def test_crowds_are_apart_and_pictures_without_annotation_have_no_boxes() -> None:
    sample = one_square()
    assert sample.boxes is not None
    crowd = replace(sample, boxes=replace(sample.boxes, crowd=np.array([True])))
    item = BoxTransform(60, 99)(crowd, np.random.default_rng(0))
    assert len(item.boxes) == 0 and len(item.crowds) == 1
    bare = BoxTransform(60, 99)(Sample("b", sample.image), np.random.default_rng(0))
    assert len(bare.boxes) == 0 and bare.annotation is None


def test_sizes_are_those_the_net_will_see() -> None:
    scenes = ShapeScenes(9, crowds=True)
    sizes = box_sizes(scenes, 128, 400)
    everything = sum(int((~scenes.annotation(i).crowd).sum()) for i in range(9))
    assert len(sizes) == everything
    assert sizes.min() >= 2 * 16 and sizes.max() <= 2 * 30


def test_pictures_of_several_sizes_are_padded_to_one() -> None:
    images = [np.full((40, 50, 3), 9, np.uint8), np.full((33, 70, 3), 8, np.uint8)]
    batch = stack_padded(images, (1.2, 2, 3))
    assert batch.shape == (2, 3, 64, 96)
    assert (batch[0, :, :40, :50] == 9).all() and (batch[1, :, :33, :70] == 8).all()
    assert batch[0, :, 40, 0].tolist() == [1, 2, 3] == batch[1, :, 0, 70].tolist()


def test_the_synthetic_scenes_keep_the_contract_of_a_source() -> None:
    check_source(ShapeScenes(9, step=8, empty=4, crowds=True))
