"""A JPEG decoded only as far down as it is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pictures import encoded, scene, write_picture

from xfer.data.images.decode import DecodeError, decode
from xfer.data.loading.loader import Loader, stack_images
from xfer.data.sources.base import read, subset
from xfer.data.sources.files import FileSource
from xfer.data.transforms.crops import TrainTransform
from xfer.types import Batch, DataInfo, Sample

NOISE = np.random.default_rng(0).integers(0, 256, (150, 90, 3)).astype(np.uint8)


def with_restarts(image: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])
    assert ok
    return data.tobytes()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 100, 118])
def test_the_rows_looked_at_are_those_of_the_whole(subsampling: str, rows: int) -> None:
    for image in (NOISE, scene(90, 150), NOISE[:, :, 0]):
        extra: dict[str, Any] = {} if image.ndim == 2 else {"subsampling": subsampling}
        data = encoded(image, "JPEG", quality=90, **extra)
        whole, top = decode(data), decode(data, rows=lambda height, width: rows)
        assert top.shape == whole.shape == (150, 90, 3)
        assert np.array_equal(top[:rows], whole[:rows])
        assert not top[144:].any() and whole[144:].any()  # the rest was spared


@pytest.mark.parametrize("kind", ["progressive", "restarts", "turned", "CMYK", "PNG", "shrunk"])
def test_other_pictures_are_decoded_in_full(kind: str) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0"
    if kind == "restarts":
        data = with_restarts(NOISE)
    elif kind == "CMYK":
        from PIL import Image

        data = encoded(Image.fromarray(NOISE).convert("CMYK"), "JPEG")
    elif kind == "PNG":
        data = encoded(NOISE)
    else:
        options: dict[str, Any] = {"progressive": kind == "progressive"}
        data = encoded(NOISE, "JPEG", **options, **({"exif": exif} if kind == "turned" else {}))
    side = 64 if kind == "shrunk" else 0
    assert np.array_equal(decode(data, side, lambda height, width: 8), decode(data, side))


def test_a_picture_that_is_cut_off_is_still_found_out() -> None:
    data = encoded(NOISE, "JPEG")
    for share in (0.3, 0.9):
        with pytest.raises(DecodeError, match="cut off"):
            decode(data[: int(len(data) * share)], rows=lambda height, width: 8)


class Cut:
    """A task's transform."""

    def __init__(self, augment: str, window: int) -> None:
        self.pixels = TrainTransform(40, area=(0.1, 0.6), augment=augment, window=window)
        self.shape, self.rows = self.pixels.shape, self.pixels.rows

    def __call__(self, sample: Sample, *rng_and_place: Any) -> np.ndarray:
        return self.pixels(sample.image, *rng_and_place)


@pytest.mark.parametrize("augment", ["none", "light", "standard"])
@pytest.mark.parametrize("window", [0, 60])
def test_what_is_spared_changes_no_batch(tmp_path: Path, augment: str, window: int) -> None:
    names = [f"{k}.jpg" for k in range(12)]
    for k, name in enumerate(names):
        write_picture(tmp_path / name, seed=k, size=(150, 200))
    files = FileSource(DataInfo("", "images", ()), tmp_path, names, np.full(12, -1, np.int64))
    source = subset(files, range(11))
    asked: list[int] = []

    def pictures(spare: bool) -> np.ndarray:
        cut = Cut(augment, window)
        if spare:
            wanted = cut.rows
            cut.rows = lambda h, w, rng: asked.append(wanted(h, w, rng)) or asked[-1]  # type: ignore[assignment]
        else:
            del cut.rows
        loader = Loader(
            source, cut, lambda items: Batch(stack_images(items), ()), batch=11, train=True,
            workers=2,
        )  # fmt: skip
        (batch,) = loader.batches(3)
        return batch.images.numpy()

    assert np.array_equal(pictures(True), pictures(False))
    assert len(asked) == 11 and (augment == "none" or min(asked) < 150)
    image = read(source, 0, 0, lambda height, width: 20).image
    assert not image[60:].any() and image[:20].any()
