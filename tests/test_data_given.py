"""Pictures that a program hands over, to extract features of or to predict."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import encoded, scene
from PIL import Image

from xfer.data.images.from_memory import given_picture
from xfer.errors import XferError
from xfer.inference.model import gather_samples
from xfer.types import Sample

GOOD = scene(20, 10)


def test_arrays_and_images_come_as_pixels() -> None:
    assert given_picture(GOOD, 0) is GOOD
    assert np.array_equal(given_picture(Image.fromarray(GOOD), 0), GOOD)
    clear = Image.open(io.BytesIO(encoded(np.zeros((4, 4, 4), np.uint8))))
    assert (given_picture(clear, 0) == 255).all()  # on white, as its file


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (GOOD[:, :, :2], r"picture 7 is an array \(10, 20, 2\), not \(H, W, 3\)"),
        (GOOD.transpose(2, 0, 1), r"picture 7 is an array \(3, 10, 20\)"),
        (torch.from_numpy(GOOD), r"picture 7 is a tensor \(10, 20, 3\), not \(3, H, W\)"),
        (GOOD[:0], r"picture 7 is an array \(0, 20, 3\)"),
        (GOOD.astype(int), "picture 7 holds int64"),
        (GOOD / 25.5, "picture 7 holds floats from .* to 8.24, not within 0..1"),
        (np.full((4, 4), np.nan), "picture 7 holds floats from nan to nan"),
        (b"GIF89a no more", "picture 7: cut off"),
        ([[1, 2]], "picture 7 is a list"),
        (Image.new("F", (3, 3), 7.5), "picture 7: holds floating-point numbers from 7.5 to 7.5"),
    ],
)
def test_what_is_no_picture_is_named(picture: Any, said: str) -> None:
    with pytest.raises(XferError, match=said):
        given_picture(picture, 7)


RED = np.zeros((4, 6, 3), np.uint8) + np.array([255, 0, 0], np.uint8)


@pytest.mark.parametrize(
    ("picture", "pixels"),
    [
        (GOOD / 255, GOOD),
        ((GOOD / 255).astype(np.float32), GOOD),
        (GOOD[:, :, 0], GOOD[:, :, [0, 0, 0]]),
        (GOOD[:, :, :1], GOOD[:, :, [0, 0, 0]]),
        (np.dstack([RED, np.full((4, 6), 255, np.uint8)]), RED),
        (np.dstack([RED, np.zeros((4, 6), np.uint8)]), np.full_like(RED, 255)),
        (torch.from_numpy(GOOD).permute(2, 0, 1), GOOD),
        (torch.from_numpy(GOOD).permute(2, 0, 1) / 255, GOOD),
        ((torch.from_numpy(GOOD).permute(2, 0, 1) / 255).requires_grad_(), GOOD),
        (torch.ones((2, 3), dtype=torch.bfloat16), np.full((2, 3, 3), 255)),
        (encoded(GOOD), GOOD),
        (memoryview(encoded(GOOD)), GOOD),
        (Image.fromarray(GOOD[:, :, 0]), GOOD[:, :, [0, 0, 0]]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_all_that_a_picture_may_be(picture: Any, pixels: np.ndarray) -> None:
    found = given_picture(picture, 0)
    assert found.dtype == np.uint8 and np.array_equal(found, pixels)
    (sample,) = gather_samples(picture)
    assert isinstance(sample, Sample) and np.array_equal(sample.image, pixels)


def test_what_is_predicted_may_be_one_or_several(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encoded(GOOD))
    assert list(gather_samples(str(file))) == list(gather_samples(tmp_path)) == [file]
    for images in (GOOD, [GOOD], GOOD[None], Image.fromarray(GOOD)):
        (sample,) = gather_samples(images)
        assert isinstance(sample, Sample) and np.array_equal(sample.image, GOOD)
    for wrong, said in (
        (GOOD[:, :, :2].astype(int), "not"),
        (5, "type int is not a picture"),
        ([5], "picture 0"),
    ):
        with pytest.raises(XferError, match=said):
            list(gather_samples(wrong))
