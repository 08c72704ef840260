"""Crops and scales: close to torchvision's, decided by the generator alone, uint8 throughout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import scene
from torchvision.transforms import v2

from xfer.data.images.decode import decode
from xfer.data.images.walk import find_pictures
from xfer.data.transforms.colour import jitter
from xfer.data.transforms.crops import POLICIES, EvalTransform, TrainTransform, random_part, resize
from xfer.errors import XferError


def theirs(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """torchvision's antialiased bilinear."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    done = v2.functional.resize(tensor, [height, width], antialias=True)
    return done.permute(1, 2, 0).numpy()


def apart(one: np.ndarray, two: np.ndarray) -> float:
    """Mean distance of two pictures, in grey levels."""
    return float(np.abs(one.astype(int) - two.astype(int)).mean())


@pytest.mark.data
def test_scaling_is_within_two_levels_of_torchvision_on_photographs(picture_data: Path) -> None:
    """Mean distance: none where a side shrinks by more than MILD, 1.6 levels below that. Without
    antialiasing it is more than twice as large."""
    import cv2

    files = find_pictures(picture_data / "hymenoptera" / "val")[:24]
    ours: list[float] = []
    naive: list[float] = []
    for file in files:
        image = decode(file)
        side = min(image.shape[:2])
        image = image[:side, :side]
        for size in (side * 4 // 5, 224, 112):
            wanted = theirs(image, size, size)
            ours.append(apart(resize(image, size, size), wanted))
            naive.append(apart(np.asarray(cv2.resize(image, (size, size))), wanted))
    assert np.max(ours[2::3]) <= 0.01  # all of them shrink by more than MILD
    assert np.mean(ours[0::3]) < 1.6 and np.mean(ours[1::3]) < 1.6
    assert np.mean(naive) > 2 * np.mean(ours)


def test_enlarging_is_bilinear_as_torchvisions() -> None:
    image = scene(20, 14)
    assert np.abs(resize(image, 64, 50).astype(int) - theirs(image, 50, 64)).max() <= 1


def test_each_direction_that_shrinks_is_antialiased() -> None:
    stripes = np.zeros((8, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    flat = resize(stripes, 64, 32)
    # at the edge a triangle is cut off, and torchvision's result is no flat grey either
    assert flat.shape == (32, 64, 3) and np.abs(flat[:, 1:-1].astype(int) - 127).max() <= 1
    upright = resize(np.ascontiguousarray(stripes.transpose(1, 0, 2)), 32, 64)
    assert upright.shape == (64, 32, 3) and np.abs(upright[1:-1].astype(int) - 127).max() <= 1


def test_shrinking_keeps_the_layout_and_needs_no_picture_that_can_be_written() -> None:
    image = scene(300, 400)
    part = image[20:290, 30:350]
    small = resize(part, 64, 64)
    assert small.flags.c_contiguous  # planar, it would take 2.5 times as long
    image.setflags(write=False)
    fixed = image[20:290, 30:350]
    assert np.array_equal(resize(fixed, 64, 64), small) and not fixed.flags.writeable
    turned = np.ascontiguousarray(part.transpose(1, 0, 2)).transpose(1, 0, 2)
    assert np.array_equal(resize(turned, 64, 64), small)


@pytest.mark.parametrize("augment", ["light", "standard"])
@pytest.mark.parametrize("side", [32, 48, 60])
def test_a_place_to_write_to_changes_nothing(augment: str, side: int) -> None:
    image = scene(48, 48)
    image.setflags(write=False)
    made = TrainTransform(side, area=(0.5, 1), augment=augment)
    whole = TrainTransform(side, area=(1, 1), ratio=(1, 1), augment=augment)  # perhaps unscaled
    place = np.zeros(made.shape, np.uint8)
    for transform in (made, whole):
        for k in range(8):
            given = transform(image, np.random.default_rng(k), place)
            assert given is place
            assert np.array_equal(place, transform(image, np.random.default_rng(k)))


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (256, 256), (60, 90), (1, 7)])
def test_evaluation_cuts_what_torchvision_cuts(shape: tuple[int, int]) -> None:
    image = scene(shape[1], shape[0])
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    crop = v2.functional.center_crop(v2.functional.resize(tensor, [64], antialias=True), [56])
    ours = EvalTransform(56, 64)(image)
    assert ours.shape == (56, 56, 3)
    assert apart(ours, crop.permute(1, 2, 0).numpy()) < 2.0
    ten = v2.functional.ten_crop(v2.functional.resize(tensor, [64], antialias=True), [56, 56])
    views = EvalTransform(56, 64, crops="10crop")(image)
    assert views.shape == (10, 56, 56, 3) and views.dtype == np.uint8
    # torchvision mirrors the picture before it cuts: its left corners are our mirrored right ones
    for view, k in zip(views, (0, 1, 2, 3, 4, 6, 5, 8, 7, 9), strict=True):
        assert apart(view, ten[k].permute(1, 2, 0).numpy()) < 2.0


def test_a_crop_that_would_not_fit_is_refused() -> None:
    with pytest.raises(XferError, match="64"):
        EvalTransform(64, 32)
    with pytest.raises(XferError, match="10crop"):
        EvalTransform(32, 64, crops="5crop")
    with pytest.raises(XferError, match="strong"):
        TrainTransform(32, augment="wild")


@pytest.mark.parametrize("augment", POLICIES)
def test_the_generator_alone_decides(augment: str) -> None:
    image = scene(90, 70)
    image.setflags(write=False)  # the loader's cache gives such arrays
    transform = TrainTransform(48, augment=augment)
    first = [transform(image, np.random.default_rng((1, k))) for k in range(6)]
    again = [
        TrainTransform(48, augment=augment)(image, np.random.default_rng((1, k))) for k in range(6)
    ]
    assert all(a.shape == (48, 48, 3) and a.dtype == np.uint8 for a in first)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    distinct = len({a.tobytes() for a in first})
    assert distinct == (1 if augment == "none" else 6)


def test_threads_do_not_change_what_albumentations_draws() -> None:
    from concurrent.futures import ThreadPoolExecutor

    image = scene(64, 64)
    transform = TrainTransform(32, augment="strong")

    def make(k: int) -> bytes:
        return transform(image, np.random.default_rng(k)).tobytes()

    inline = [make(k) for k in range(24)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(make, range(24))) == inline


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 500),
    st.integers(1, 500),
    st.floats(0.05, 1),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_a_random_part_lies_inside_and_has_its_share(
    width: int, height: int, low: float, more: float, seed: int
) -> None:
    area = (low, min(1.0, low + more))
    x, y, w, h = random_part(width, height, area, (3 / 4, 4 / 3), np.random.default_rng(seed))
    assert x >= 0 and y >= 0 and w >= 1 and h >= 1 and x + w <= width and y + h <= height
    if width == height > 100:
        share = w * h / (width * height)
        assert low - 0.03 <= share <= area[1] + 0.03


def test_parts_spread_over_the_asked_shares_and_shapes() -> None:
    rng = np.random.default_rng(0)
    parts = np.array([random_part(400, 400, (0.2, 0.8), (0.5, 2), rng) for _ in range(800)])
    shares = parts[:, 2] * parts[:, 3] / 400**2
    assert shares.min() < 0.23 and shares.max() > 0.7 and 0.44 < shares.mean() < 0.56
    assert (parts[:, 2] > parts[:, 3]).mean() == pytest.approx(0.5, abs=0.07)


def test_half_of_the_pictures_are_mirrored_unless_told_otherwise() -> None:
    image = scene(40, 40)
    whole = (1.0, 1.0)

    def mirrored(flip: bool) -> float:
        made = TrainTransform(40, area=whole, ratio=(1, 1), flip=flip, augment="light")
        results = [made(image, np.random.default_rng(k)) for k in range(200)]
        return float(np.mean([np.array_equal(r, image[:, ::-1]) for r in results]))

    assert mirrored(True) == pytest.approx(0.5, abs=0.12) and mirrored(False) == 0


def test_jitter_is_that_of_torchvision() -> None:
    image = scene(40, 30)
    for seed in range(5):
        brightness, contrast, saturation = np.random.default_rng(seed).uniform(0.7, 1.3, 3)
        ours = jitter(image, np.random.default_rng(seed), strength=0.3)
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        tensor = v2.functional.adjust_brightness(tensor, brightness)
        tensor = v2.functional.adjust_contrast(tensor, contrast)
        tensor = v2.functional.adjust_saturation(tensor, saturation)
        assert np.abs(ours.astype(int) - tensor.permute(1, 2, 0).numpy()).max() <= 4
    assert jitter(image, np.random.default_rng(0), strength=0.0).tobytes() == image.tobytes()
