"""What is odd in masks, whatever format they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_sets import write_mask, write_picture
from numpy.typing import NDArray
from PIL import Image

from xfer import kinds
from xfer.data.open import open_data
from xfer.kinds.mask_findings import border_classes
from xfer.kinds.mask_regions import odd_regions

SIZE = (40, 60)


def disc(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    centre = rng.uniform(0.4, 0.6, 2) * size
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < rng.uniform(8, 14) ** 2


def blurred(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """0, 255, and values between along the border, as scaling with interpolation leaves them."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    height, width = mask.shape
    return np.asarray(image.resize((width * 2, height * 2), Image.Resampling.BILINEAR))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_values_between_two_regions_are_found_and_regions_are_not(seed: int) -> None:
    masks = [blurred(disc(seed + k)) for k in range(4)]
    values = np.unique(np.stack(masks))
    place = np.searchsorted(values, np.stack(masks)).astype(np.uint8)
    found = border_classes(list(place), len(values))
    assert {0, len(values) - 1}.isdisjoint(found)
    many = np.bincount(place.ravel(), minlength=len(values))
    assert [k for k in range(1, len(values) - 1) if many[k] >= 8] == found


def test_thin_objects_and_noise_are_no_borders() -> None:
    rng = np.random.default_rng(0)
    vessel = np.zeros(SIZE, np.uint8)
    vessel[20, 5:55] = 1  # a line within one region
    vessel[30:, :] = 2
    noise = rng.integers(0, 4, SIZE).astype(np.uint8)
    assert border_classes([vessel], 3) == []
    assert border_classes([noise], 4) == []
    assert border_classes([], 4) == []


@pytest.mark.parametrize("form", ["masks", "voc"])
def test_borders_are_told_whenever_data_are_opened(tmp_path: Path, form: str) -> None:
    pattern = ("images/{}.png", "masks/{}.png")
    if form == "voc":
        pattern = ("JPEGImages/{}.png", "SegmentationClass/{}.png")
        lists = tmp_path / "ImageSets/Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("0\n1\n2\n3\n")
    for i in range(4):
        inner = disc(i)
        grown = inner.copy()
        grown[1:] |= inner[:-1]
        grown[:, 1:] |= inner[:, :-1]
        mask = np.where(inner, 2, np.where(grown, 1, 0)).astype(np.uint8)
        write_picture(tmp_path / pattern[0].format(i), i, SIZE)
        write_mask(tmp_path / pattern[1].format(i), mask)
    (tmp_path / "classes.txt").write_text("floor\nrim\nball\n")
    found = open_data(tmp_path, kind="segment", val="none")
    assert (found.format, found.classes) == (form, ("floor", "rim", "ball"))
    told = [note for note in found.notes if "only along the borders" in note]
    assert len(told) == 1 and "rim lies" in told[0]
    after = open_data(tmp_path, kind="segment", val="none", ignore="rim")
    assert not any("only along the borders" in note for note in after.notes)


def test_absent_classes_empty_masks_and_specks_are_found_in_every_split(tmp_path: Path) -> None:
    for split, values in (("train", (0, 1)), ("val", (0, 2))):
        for i in range(3):
            mask = np.where(disc(i), values[1], values[0]).astype(np.uint8)
            if split == "val" and i == 1:
                mask[:] = 255
            if split == "train" and i == 2:
                mask[2, 2:4] = 1
            write_picture(tmp_path / split / f"images/{i}.png", i, SIZE)
            write_mask(tmp_path / split / f"masks/{i}.png", mask)
    (tmp_path / "classes.txt").write_text("floor\nball\ncube\n")
    bundle = open_data(tmp_path, cut=False)
    kind = kinds.get("segment")
    found = {(one.check, one.items): one.text for one in kind.find_in_pictures(
        bundle.splits, bundle.classes)}  # fmt: skip
    assert found["empty_class", ()] == "no mask of val holds ball"
    assert found["empty_mask", (("val/images/1.png",),)].startswith("1 mask of val")
    assert found["speck", (("train/images/2.png",),)].startswith("1 mask of train with specks")
    assert found["unseen_class", ()] == "masks of val hold cube, which no mask of train holds"


def test_a_mask_of_many_small_regions_has_no_specks() -> None:
    texture = np.zeros(SIZE, np.uint8)
    texture[::4, ::4] = 1
    assert odd_regions(texture) == []
    assert odd_regions(disc(0).astype(np.uint8)) == []
