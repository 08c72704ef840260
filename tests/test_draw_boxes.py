"""Boxes drawn on pictures: the right ones, in the right place, with tags that stay inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from xfer import kinds
from xfer.drawing import boxes as drawing
from xfer.drawing import boxes_overview
from xfer.drawing.boxes import boxes_on, choose, colour_of
from xfer.types import BoxPrediction

NAMES = ["cat", "a very long name of a class, longer than any tag", "猫 $5", "грузовик", "ïve"]


def prediction(rows: Sequence[tuple[Sequence[float], float, int]]) -> BoxPrediction:
    return BoxPrediction(
        "p", np.array([r[0] for r in rows], np.float32).reshape(-1, 4),
        np.array([r[1] for r in rows], np.float32), np.array([r[2] for r in rows], np.int64),
        (0, 0),
    )  # fmt: skip


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_sure_boxes_are_chosen_the_best_on_top() -> None:
    said = prediction([([0, 0, 9, 9], score, 0) for score in (0.6, 0.9, 0.5, 0.4, 0.1)])
    assert choose(said).tolist() == [2, 0, 1]
    assert choose(said, 0.95).tolist() == []
    assert choose(said, 0.05).tolist() == [4, 3, 2, 0, 1]
    unsure = prediction([([0, 0, 9, 9], score, 0) for score in (0.1, 0.4, 0.2, 0.3)])
    assert choose(unsure).tolist() == [2, 3, 1]  # the best few where none is sure
    assert choose(prediction([])).tolist() == []


def test_a_box_is_drawn_where_it_is() -> None:
    image = boxes_on(grey(400, 500), prediction([([100, 150, 301, 351], 0.9, 2)]), NAMES)
    pixels = np.asarray(image)
    assert pixels.shape == (400, 500, 3)
    colour = np.array(ImageColor.getrgb(colour_of(2)))
    own = (pixels == colour).all(2)
    for row, column in ((150, 200), (350, 200), (250, 100), (250, 300)):
        assert own[row, column]
    assert (pixels[200:300, 150:250] == 128).all()  # nothing inside
    assert not own[:, :99].any() and not own[:, 302:].any()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((20, 64), (100, 320)),
        ((400, 500), (400, 500)),
        ((800, 3200), (400, 1600)),
        ((1, 1), (320,) * 2),
    ],
)
def test_small_pictures_are_enlarged_and_large_ones_shrunk(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    said = prediction([([0, 0, shape[1], shape[0]], 0.9, 0)])
    assert np.asarray(boxes_on(grey(*shape), said, NAMES)).shape[:2] == expected


box = st.tuples(*[st.floats(-50, 450, width=32)] * 4)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(box, st.floats(0, 1, width=32), st.integers(0, 4)), max_size=15),
    st.sampled_from([(330, 400), (40, 320), (16, 16)]),
)
def test_tags_stay_inside_and_hide_no_other(
    rows: list[tuple[tuple[float, ...], float, int]], shape: tuple[int, int]
) -> None:
    sides = [((min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])), score, c)
             for b, score, c in rows]  # fmt: skip
    tags: list[drawing.Rect] = []
    plain = drawing._tag

    def seen(*words: object) -> drawing.Rect | None:
        spot = plain(*words)  # pyright: ignore[reportArgumentType]
        if spot is not None:
            tags.append(spot)
        return spot

    drawing._tag = seen
    try:
        image = boxes_on(grey(*shape), prediction(sides), NAMES, 0.0)
    finally:
        drawing._tag = plain
    for i, tag in enumerate(tags):
        assert tag[0] >= 0 and tag[1] >= 0
        # a tag that is wider or higher than the picture starts at its edge
        assert tag[2] <= image.width - 1 + 1e-6 or tag[0] == 0
        assert tag[3] <= image.height - 1 + 1e-6 or tag[1] == 0
        area = (tag[2] - tag[0]) * (tag[3] - tag[1])
        for other in tags[:i]:
            assert drawing._shared(tag, other) <= drawing.HIDDEN * area + 1e-6
    if rows and max(score for _, score, _ in rows) >= 0:
        assert tags  # the best box has its tag


def test_colours_differ_for_many_classes() -> None:
    assert len({colour_of(c) for c in range(80)}) == 80


def test_pictures_with_the_most_boxes_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    plain = Axes.hist

    def hist(ax: Axes, *words: Any, **named: Any) -> Any:
        drawn = plain(ax, *words, **named)
        shares.append(float(np.sum(drawn[0])))
        return drawn

    monkeypatch.setattr(Axes, "hist", hist)
    for most in (0, 7, 100, 451):
        axes = Figure().subplots()
        boxes_overview._steps(axes, {"train": np.array([0.0, 1.0, most])}, "boxes", 0)
    assert shares == pytest.approx([100] * 4)


def test_a_drawing_is_a_png_file(tmp_path: Path) -> None:
    kinds.get("detect").draw_prediction(grey(40, 50), prediction([]), NAMES, tmp_path / "d.png")
    with Image.open(tmp_path / "d.png") as picture:
        assert picture.size == (350, 280) and picture.format == "PNG"
