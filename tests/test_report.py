"""Drawings: right colours in right places, any names, few or many classes, whole files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xfer import kinds
from xfer.drawing import canvas
from xfer.drawing.bars import per_class_bars
from xfer.drawing.canvas import class_labels, legible
from xfer.drawing.mosaic import GAP, SIDE, Tile, mosaic
from xfer.drawing.predictions import draw_classes
from xfer.errors import XferError
from xfer.metrics.accuracy import Accuracy
from xfer.metrics.multilabel import MultiLabelAP
from xfer.report.confusion import confused_pairs, confusion
from xfer.report.curves import curves
from xfer.report.layers import layer_picture, net_names
from xfer.report.plots import plot_run
from xfer.types import ClassPrediction

ODD_NAMES = (
    "蚂蚁", "蜜蜂", "naïve café", "$100 $200", "a\nb", "x_y^2", "🐝", "муравей", "", "?",
    "a class name that goes on and on (Canis lupus)",
    "a class name that goes on and on (Canis latrans)",
)  # fmt: skip


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def colour(text: str) -> np.ndarray:
    return np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)])


def has_colour(image: np.ndarray, text: str) -> bool:
    return bool((image == colour(text)).all(-1).any())


def events(steps: int, evals: int) -> list[dict[str, Any]]:
    train: list[dict[str, Any]] = [
        {"event": "train", "step": i + 1, "epoch": (i + 1) / 10, "loss": 2 / (i + 1), "lr": 0.1,
         "losses": {"box": 1 / (i + 1), "class": 1 / (i + 1)}}
        for i in range(steps)
    ]  # fmt: skip
    scores: list[dict[str, Any]] = [
        {"event": "eval", "step": i + 1, "metrics": {"top5": 1.0, "top1": i / 20, "loss": 1.0}}
        for i in range(evals)
    ]
    return [*train, {"event": "resume", "step": 1}, *scores]


def scored(classes: tuple[str, ...], n: int, right: bool = False) -> Accuracy:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(classes), n)
    scores = rng.random((n, len(classes))) + (9 * np.eye(len(classes))[labels] if right else 0)
    metric = Accuracy(classes)
    metric.add(scores / scores.sum(1, keepdims=True), labels, [str(i) for i in range(n)])
    return metric


@given(st.text(max_size=60), st.integers(4, 40))
def test_any_text_becomes_legible_within_its_limit(text: str, limit: int) -> None:
    shown = legible(text, limit).replace(r"\$", "$")
    assert canvas._columns(shown) <= limit
    assert all(any(ord(s) in known for _, known in canvas._fonts()) for s in shown)
    assert not any(s in "\n\r\t" for s in shown)


def test_long_text_keeps_both_ends_and_dollars_are_no_formula() -> None:
    assert legible("abcdefghij", 7) == "abc…hij"
    assert legible("$1 to $2") == r"\$1 to \$2"
    assert legible("e\N{COMBINING ACUTE ACCENT}te") == "\N{LATIN SMALL LETTER E WITH ACUTE}te"


def test_labels_tell_classes_apart() -> None:
    labels = class_labels(ODD_NAMES)
    assert len(set(labels)) == len(labels)
    assert labels[2] == "naïve café"
    assert class_labels(["what?", "ant"]) == ["what?", "ant"]


def test_a_font_of_the_system_is_used_for_signs_that_dejavu_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # matplotlib's own STIX has private-use signs that DejaVu has not
    monkeypatch.setattr(canvas, "FALLBACKS", ("STIXNonUnicode",))
    canvas._fonts.cache_clear()
    try:
        sign = next(chr(c) for c in canvas._fonts()[1][1] if c not in canvas._fonts()[0][1])
        assert legible(sign) == sign
        per_class_bars({sign: 0.5}, {sign: 1}, tmp_path / "a.png", "share")
    finally:
        canvas._fonts.cache_clear()


@pytest.mark.parametrize(("steps", "evals"), [(1, 0), (1, 1), (0, 2), (300, 20)])
def test_curves_of_short_and_long_runs(steps: int, evals: int, tmp_path: Path) -> None:
    curves(events(steps, evals), tmp_path / "curves.png", "top1")
    image = pixels(tmp_path / "curves.png")
    assert has_colour(image, canvas.BLUE)
    assert has_colour(image, canvas.ORANGE) == (evals > 0)


def test_curves_need_something_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no train or eval"):
        curves([{"event": "resume", "step": 3}], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [2, 12, 45, 100, 1000])
def test_confusion_of_few_and_many_classes(count: int, tmp_path: Path) -> None:
    matrix = np.eye(count, dtype=np.int64) * 5
    matrix[1, 0] = 3
    names = tuple(ODD_NAMES[i % len(ODD_NAMES)] for i in range(count))
    confusion(matrix, names, tmp_path / "confusion.png")
    image = pixels(tmp_path / "confusion.png")
    assert max(image.shape) < 1600
    assert image.std() > 5


def test_confused_pairs_come_worst_first() -> None:
    matrix = np.array([[9, 2, 0], [0, 9, 5], [1, 0, 9]])
    assert confused_pairs(matrix) == [(1, 2, 5), (0, 1, 2), (2, 0, 1)]
    assert confused_pairs(matrix, max_pairs=1) == [(1, 2, 5)]
    assert confused_pairs(np.eye(3, dtype=np.int64)) == []


def test_bars_leave_out_classes_without_a_score(tmp_path: Path) -> None:
    per_class_bars({"a": 0.5, "b": None}, {"a": 3, "b": 0}, tmp_path / "few.png", "share")
    many = {f"class {i}": i / 100 for i in range(100)}
    per_class_bars(many, dict.fromkeys(many, 1), tmp_path / "many.png", "share")
    few, lots = pixels(tmp_path / "few.png"), pixels(tmp_path / "many.png")
    assert len(few) < len(lots) < 1400
    with pytest.raises(ValueError, match="no class"):
        per_class_bars({"b": None}, {"b": 0}, tmp_path / "none.png", "share")


def test_mosaic_frames_right_and_wrong_pictures_in_their_colours(tmp_path: Path) -> None:
    black, white = np.zeros((40, 80, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)
    tiles = [Tile(black, ("ant",), True), Tile(white, ("bee", "is ant"), False), Tile(black, ())]
    mosaic(tiles, tmp_path / "m.png")
    image = pixels(tmp_path / "m.png").astype(int)
    step = SIDE + GAP
    for i, expected in enumerate((canvas.GREEN, canvas.RED, canvas.GREY)):
        assert np.abs(image[GAP + SIDE // 2, GAP + i * step] - colour(expected)).max() < 8
    middle = GAP + SIDE // 2
    assert (image[middle, middle] == 0).all()
    assert (image[middle, middle + step] == 255).all()
    # a wide picture is not stretched: above it the square's ground shows
    assert (image[GAP + 20, middle] == 238).all()
    with pytest.raises(ValueError, match="no pictures"):
        mosaic([], tmp_path / "none.png")


def test_a_drawing_that_fails_leaves_the_old_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = tmp_path / "b.png"
    target.write_bytes(b"old")
    figure = canvas.new_figure(2, 2)

    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        canvas.save(figure, target)
    assert [p.name for p in tmp_path.iterdir()] == ["b.png"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("size", [(8, 8), (1600, 900), (300, 20)])
def test_predict_draws_the_picture_dot_for_dot_with_scores_below(
    size: tuple[int, int], tmp_path: Path
) -> None:
    picture = np.full((*size, 3), 7, np.uint8)
    prediction = ClassPrediction("a", np.array([0.2, 0.7, 0.1], np.float32))
    draw_classes(picture, prediction, ODD_NAMES[:3], tmp_path / "d.png")
    image = pixels(tmp_path / "d.png")
    scale = min(1, 1200 / max(size))
    expected = round(size[0] * scale) * round(size[1] * scale)
    assert abs(int((image == 7).all(-1).sum()) - expected) <= 0.03 * expected + 60
    assert image.shape[1] >= 360
    with pytest.raises(XferError, match="for boxes"):
        kinds.get("classify").draw_prediction(
            picture, prediction, ODD_NAMES[:3], tmp_path / "d.png", 0.5
        )


def test_a_run_gets_its_pictures(tmp_path: Path) -> None:
    def image(sample_id: str) -> np.ndarray:
        return np.full((8, 8, 3), int(sample_id), np.uint8)

    written = plot_run(tmp_path, events(3, 2), scored(ODD_NAMES, 90), image, ODD_NAMES)
    names = ["curves.png", "confusion.png", "classes.png", "worst.png", "predictions.png"]
    assert [p.name for p in written] == names
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == sorted(names)
    assert has_colour(pixels(tmp_path / "plots" / "worst.png"), canvas.RED)


def test_a_run_without_errors_shows_what_was_least_sure(tmp_path: Path) -> None:
    metric = scored(("no", "yes"), 5, right=True)
    plot_run(tmp_path, [], metric, lambda _: np.zeros((8, 8, 3), np.uint8), metric.classes)
    worst = pixels(tmp_path / "plots" / "worst.png")
    assert has_colour(worst, canvas.GREEN)
    assert not has_colour(worst, canvas.RED)
    assert not (tmp_path / "plots" / "curves.png").exists()


def test_a_run_without_val_gets_its_curves(tmp_path: Path) -> None:
    written = plot_run(tmp_path, events(3, 0), None, lambda _: np.zeros((1, 1, 3), np.uint8), ())
    assert [p.name for p in written] == ["curves.png"]


@pytest.mark.data
def test_real_pictures_with_several_labels(picture_data: Path, tmp_path: Path) -> None:
    root = picture_data / "hymenoptera" / "val"
    files = sorted(root.rglob("*.jpg"))[:9]
    metric = MultiLabelAP(("ant", "bee", "flower"))
    rng = np.random.default_rng(0)
    metric.add(rng.random((9, 3)), rng.integers(-1, 2, (9, 3)), [p.name for p in files])
    by_name = {p.name: p for p in files}

    def image(sample_id: str) -> np.ndarray:
        with Image.open(by_name[sample_id]) as picture:
            return np.asarray(picture.convert("RGB"))

    written = plot_run(tmp_path, [], metric, image, metric.classes)
    names = ["precision_recall.png", "classes.png", "worst.png", "predictions.png"]
    assert [p.name for p in written] == names
    assert pixels(written[-1]).std() > 30


def test_a_net_with_two_weights_is_two_panels(tmp_path: Path) -> None:
    nets = [("alexnet", "dir/w.npz"), ("alexnet", "none"), ("resnet18", "imagenet")]
    assert net_names(nets) == ["alexnet, w.npz", "alexnet, random weights", "resnet18"]
    rows = [
        {"backbone": b, "weights": w, "layer": f"conv{i}", "top1": 0.1 * i}
        for b, w in nets[:2]
        for i in range(1, 4)
    ]
    layer_picture(rows, tmp_path / "two.png", score="top1")
    layer_picture(rows[:3], tmp_path / "one.png", score="top1")
    assert pixels(tmp_path / "two.png").shape[1] > pixels(tmp_path / "one.png").shape[1] + 150
