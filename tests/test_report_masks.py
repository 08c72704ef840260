"""Masks drawn: palette PNGs, overlays with a legend, mosaics, shares as csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mask_sets import make_mask
from numpy.typing import NDArray
from PIL import Image, ImageColor

from xfer import kinds
from xfer.data.images.mask_file import read_mask_file
from xfer.drawing.masks import (
    BLEND,
    COLOURS,
    blend,
    mask_colour,
    overlay,
    save_palette,
    voc_palette,
)
from xfer.errors import XferError
from xfer.kinds.mask_rows import csv_rows, table_row
from xfer.metrics.example import PackedMasks
from xfer.metrics.miou import MeanIoU
from xfer.report.mask_tiles import GAP, SIDE, legend_tile, pair_tile
from xfer.report.plots import plot_run
from xfer.types import MaskPrediction

CLASSES = ("background", "road", "Käse $5", "道路")
SIZE = (60, 80)


def picture(size: tuple[int, int] = SIZE, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def test_the_palette_is_vocs() -> None:
    # the first colours of the devkit's VOClabelcolormap, and that of the border
    colours = voc_palette().tolist()
    assert colours[:6] == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128],
    ]  # fmt: skip
    assert colours[20] == [0, 64, 128]
    assert colours[255] == [224, 224, 192]
    assert len({tuple(c) for c in colours}) == 256


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_palette_png_keeps_its_indices(mask: NDArray[np.uint8]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.png"
        save_palette(mask, path)
        assert np.array_equal(read_mask_file(path).values, mask)
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image.convert("RGB")), voc_palette()[mask])


def test_the_overlay_tints_all_but_the_background() -> None:
    image = np.full((*SIZE, 3), 100, np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    mask[20:40, 20:40] = 1
    mask[50:, :] = 255
    found = blend(image, mask, CLASSES)
    assert (found[5, 5] == 100).all()
    tint = np.array(ImageColor.getrgb(mask_colour(1)))
    assert np.abs(found[30, 30] - (BLEND * tint + (1 - BLEND) * 100)).max() <= 0.5
    assert (found[55, 40] < 80).all()
    assert (found[20, 30] == 255).all(), "an outline where classes meet"


@pytest.mark.parametrize("size", [(60, 80), (400, 300), (1200, 2400), (2, 900)])
def test_an_overlay_has_the_picture_and_a_legend(size: tuple[int, int]) -> None:
    mask = make_mask((0, 1, 2, 3, 255), size=size) if min(size) > 4 else np.ones(size, np.uint8)
    found = overlay(picture(size), mask, CLASSES)
    scale = min(1.0, 1600 / max(size)) if max(size) > 320 else -(-320 // max(size))
    width, height = round(size[1] * scale), max(1, round(size[0] * scale))
    assert found.width == width
    assert found.height > height
    legend = np.asarray(found)[height:]
    assert (legend != 255).any()


def test_colours_of_neighbouring_classes_differ() -> None:
    assert len({mask_colour(c) for c in range(254)}) > 240
    assert len(set(COLOURS)) == len(COLOURS)


def test_a_prediction_is_drawn_with_its_palette_png(tmp_path: Path) -> None:
    mask = make_mask((0, 1, 2), size=SIZE)
    said = MaskPrediction("a.jpg", mask, SIZE)
    kinds.get("segment").draw_prediction(picture(), said, CLASSES, tmp_path / "a.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a_mask.png"]
    assert np.array_equal(read_mask_file(tmp_path / "a_mask.png").values, mask)
    with pytest.raises(XferError, match="min_score is for boxes"):
        kinds.get("segment").draw_prediction(picture(), said, CLASSES, tmp_path / "b.png", 0.5)


def test_shares_are_rows_of_csv() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:3] = 1
    mask[9, 9] = 3
    said = MaskPrediction("a.jpg", mask, (10, 10))
    assert csv_rows(said, CLASSES) == [
        {"id": "a.jpg", "class": "background", "share": 0.69},
        {"id": "a.jpg", "class": "road", "share": 0.3},
        {"id": "a.jpg", "class": "道路", "share": 0.01},
    ]
    row = table_row(said, CLASSES)
    assert row["classes"] == "background 69%, road 30%, 道路 1%"


def test_predictions_of_masks_are_written_as_csv_table_and_pictures(tmp_path: Path) -> None:
    from xfer.inference.model import Predictions
    from xfer.types import Sample

    class Task:
        kind = kinds.get("segment")

        class info:
            classes = CLASSES

    mask = make_mask((0, 2), size=SIZE)
    names = ["x/a.jpg", "y/a.jpg", "a_mask.jpg", "b_mask.jpg", "b.jpg"]
    items = tuple(MaskPrediction(n, mask, SIZE) for n in names)
    task: Any = Task()
    found = Predictions(task, items, tuple(Sample(n, picture()) for n in names))
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert {(r["id"], r["class"]) for r in rows} == {
        (n, c) for n in names for c in ("background", CLASSES[2])
    }
    assert [row["id"] for row in found.to_table()] == names
    written = found.draw(tmp_path)
    assert len(written) == 5
    assert len(list(tmp_path.iterdir())) == 10, "no file is written over another"
    with pytest.raises(XferError, match="COCO results are boxes"):
        found.to_coco()


@given(
    st.integers(1, 700), st.integers(1, 700), st.integers(0, 5)
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_packed_masks_are_every_so_many_pixels(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(0, 4, (2, height, width), np.uint8)
    found = PackedMasks.of(truth, said).unpack()
    step = -(-max(height, width) // 256)
    assert np.array_equal(found[0], truth[::step, ::step])
    assert np.array_equal(found[1], said[::step, ::step])


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (300, 100)])
def test_tiles_show_both_masks(size: tuple[int, int]) -> None:
    truth, said = make_mask((0, 1), 1, size), make_mask((0, 2), 2, size)
    tile = pair_tile(picture(size), truth, said, CLASSES)
    height, width = size
    below, beside = (2 * height + GAP, width, 3), (height, 2 * width + GAP, 3)
    assert tile.shape == (below if width >= height else beside)
    large = pair_tile(picture((900, 1200)), truth, said, CLASSES)
    assert max(large.shape[:2]) <= SIDE + GAP
    assert (legend_tile(CLASSES, [0, 3]) != 255).any()


def test_plots_of_a_segmentation(tmp_path: Path) -> None:
    metric = MeanIoU(CLASSES)
    for i in range(3):
        truth = make_mask((0, 1, 2, 255), i, SIZE)
        metric.add(np.where(truth == 255, 1, truth).astype(np.uint8), truth, f"p{i}")
    files = plot_run(tmp_path, [], metric, lambda _: picture(), CLASSES)
    assert sorted(f.name for f in files) == [
        "classes.png", "confusion.png", "predictions.png", "worst.png",
    ]  # fmt: skip
    for file in files:
        with Image.open(file) as image:
            assert image.size[0] > 300


def test_counts_are_short() -> None:
    from xfer.drawing.canvas import short

    told = [short(n) for n in (0, 9999, 10_000, 54_321, 999_999, 1_590_000, 3_000_000_000)]
    assert told == ["0", "9999", "10k", "54.3k", "1000k", "1.59M", "3G"]
