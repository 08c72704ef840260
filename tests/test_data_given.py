"""Pictures that a program hands over, to extract features of or to predict."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
        (GOOD[:, :, 0], r"picture 7 is an array \(10, 20\), not \(H, W, 3\)"),
        (GOOD[:, :, :1], r"picture 7 is an array \(10, 20, 1\)"),
        (np.zeros((10, 20, 4), np.uint8), r"picture 7 is an array \(10, 20, 4\)"),
        (GOOD[:0], r"picture 7 is an array \(0, 20, 3\)"),
        (GOOD / 255, "picture 7 is a float64 array"),
        ([[1, 2]], "picture 7 is a list"),
        (Image.new("F", (3, 3)), "picture 7: holds floating-point numbers"),
    ],
)
def test_what_is_no_picture_is_named(picture: Any, said: str) -> None:
    with pytest.raises(XferError, match=said):
        given_picture(picture, 7)


def test_what_is_predicted_may_be_one_or_several(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encoded(GOOD))
    assert list(gather_samples(str(file))) == list(gather_samples(tmp_path)) == [file]
    for images in (GOOD, [GOOD], GOOD[None], Image.fromarray(GOOD)):
        (sample,) = gather_samples(images)
        assert isinstance(sample, Sample) and np.array_equal(sample.image, GOOD)
    for wrong, said in ((GOOD[:, :, 0], "not"), (5, "type int is no picture"), ([5], "picture 0")):
        with pytest.raises(XferError, match=said):
            list(gather_samples(wrong))
