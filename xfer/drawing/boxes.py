"""Draw boxes on a picture, each with a tag of its class and score that stays in the picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from xfer.drawing.canvas import BLUE, GREEN, GREY, RED, SERIES, class_labels, font_for
from xfer.drawing.outlines import paint
from xfer.kinds.box_rows import SURE
from xfer.metrics.example import Mark, Role
from xfer.types import BoxPrediction

FEW = 3
HIDDEN = 0.05  # share of a tag that another tag may hide
SMALLEST, LARGEST = 320, 1600
LETTERS = 0.058  # of a thumbnail's side: 11 px where it is shown at 190 px
# the golden ratio: successive hues are far apart, however many there are
_TURN = 0.618034

Rect = tuple[float, float, float, float]
# roles of a marked box, those first that matter most; dashes in widths of their line
ROLES: tuple[Role, ...] = ("wrong", "missed", "right", "truth")
ROLE_COLOURS = {"right": GREEN, "wrong": RED, "missed": BLUE, "truth": GREY}
ROLE_DASHES = {"right": 0, "wrong": 4, "missed": 1, "truth": 0}
# tags on a small picture: in a crowd those of errors alone, so that what is there can still be seen
MOST_TAGS = {"wrong": 14, "missed": 14, "right": 7, "truth": 7}


def choose(prediction: BoxPrediction, min_score: float | None = None) -> NDArray[np.int64]:
    """Rows of the boxes to draw, the best last, so that it is on top.

    Args:
        min_score: those with at least this score; None: 0.5, or the best 3 if none reaches it.
    """
    order = np.argsort(prediction.scores, kind="stable")
    chosen = order[prediction.scores[order] >= (SURE if min_score is None else min_score)]
    return order[-FEW:] if min_score is None and not len(chosen) else chosen


def boxes_on(
    image: NDArray[np.uint8],
    prediction: BoxPrediction,
    classes: Sequence[str],
    min_score: float | None = None,
    *,
    scores: bool = True,
    side: int = 0,
) -> Image.Image:
    """Draw a picture with its boxes, as an RGB image.

    It keeps its size, but is enlarged by a whole number if it is so small (long side below 320)
    that tags would hide it, and shrunk to a long side of 1600.

    Args:
        image: uint8 (H, W, 3); prediction: boxes in its pixels; classes: names.
        min_score: as in `choose`. Boxes below 0.5 get a thinner line.
        scores: whether tags show the score after the class.
        side: of a thumbnail, its longest one, pixels; its tags are large enough to be read when it
            is shown at half its size.
    """
    canvas, scale = canvas_of(image, side)
    size = canvas.size
    draw = ImageDraw.Draw(canvas)
    line = max(2, round(max(size) / (130 if side else 320)))
    chosen = choose(prediction, min_score)
    rects: list[Rect] = []
    for row in chosen.tolist():
        x1, y1, x2, y2 = (prediction.boxes[row].astype(float) * scale).tolist()
        # right and bottom are exclusive; a box of no width is still visible
        rect = inside((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), size)
        rects.append(rect)
        thick = line if prediction.scores[row] >= SURE else max(1, line // 2)
        draw.rectangle(_grown(rect, 1), outline="white", width=thick + 2)
        draw.rectangle(rect, outline=colour_of(int(prediction.labels[row])), width=thick)
    colours = [colour_of(c) for c in prediction.labels[chosen].tolist()]
    tag_boxes(draw, prediction, classes, chosen, rects, size, letters_of(size, side), scores,
              colours)  # fmt: skip
    return canvas


def canvas_of(image: NDArray[np.uint8], side: int) -> tuple[Image.Image, float]:
    """The picture at the size at which it is drawn, see `boxes_on`, and the scale."""
    height, width = image.shape[:2]
    longest = max(height, width)
    scale = min(1.0, LARGEST / longest) if longest > SMALLEST else float(-(-SMALLEST // longest))
    if side:
        scale = side / longest
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = Image.fromarray(image)
    if size != (width, height):
        method = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.BICUBIC
        canvas = canvas.resize(size, method)
    return canvas, scale


def letters_of(size: tuple[int, int], side: int) -> float:
    """The height of letters on a picture of this size (width, height), pixels."""
    return side * LETTERS if side else min(28.0, max(11.0, max(size) / 42))


def tag_boxes(
    draw: ImageDraw.ImageDraw,
    prediction: BoxPrediction,
    classes: Sequence[str],
    chosen: NDArray[np.int64],
    rects: Sequence[Rect],
    size: tuple[int, int],
    letters: float,
    scores: bool,
    colours: Sequence[str],
) -> None:
    """Write a tag at each of the chosen boxes, the best first; in a crowd some have only their
    score, or none.

    Args: rects, colours: of the chosen boxes; size: (width, height) of the drawing.
    """
    labels = class_labels(classes)
    taken: list[Rect] = []
    each = list(zip(chosen.tolist(), rects, colours, strict=True))
    for row, rect, colour in reversed(each):
        c, score = int(prediction.labels[row]), float(prediction.scores[row])
        name = labels[c].replace(r"\$", "$")
        for text in (f"{name} {score:.2f}", f"{score:.2f}") if scores else (name,):
            spot = _tag(draw, text, rect, taken, size, letters, colour)
            if spot is not None:
                taken.append(spot)
                break


def draw_marks(image: NDArray[np.uint8], marks: Sequence[Mark], side: int) -> NDArray[np.uint8]:
    """A thumbnail, its longest side `side` px, with marked boxes and what they hold: right ones
    green, wrong ones red and dashed, missed ones blue and dotted. Objects with masks are tinted.

    Args: image: uint8 (H, W, 3); marks: in its pixels.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BICUBIC)
    line = max(2, round(side / 130))
    order = sorted(marks, key=lambda mark: ROLES.index(mark.role))
    pixels = np.array(canvas)
    for mark in reversed(order):
        if mark.mask is not None:  # its outline says where it is
            colour = ImageColor.getrgb(ROLE_COLOURS[mark.role])[:3]
            paint(pixels, mark.mask, colour, max(1, line // 2))
    canvas = Image.fromarray(pixels)
    draw = ImageDraw.Draw(canvas)
    for mark in reversed(order):
        if mark.mask is not None:
            continue
        rect = inside(tuple(v * scale for v in mark.box_xyxy), size)
        draw.rectangle(_grown(rect, 1), outline="white", width=line + 2)
        if ROLE_DASHES[mark.role]:
            _dashed(draw, rect, ROLE_COLOURS[mark.role], line, ROLE_DASHES[mark.role] * line)
        else:
            draw.rectangle(rect, outline=ROLE_COLOURS[mark.role], width=line)
    taken: list[Rect] = []
    for mark in order:
        rect = inside(tuple(v * scale for v in mark.box_xyxy), size)
        text, colour = mark.text, ROLE_COLOURS[mark.role]
        if len(taken) >= MOST_TAGS[mark.role]:
            continue
        spot = _tag(draw, text, rect, taken, size, side * LETTERS, colour) if text else None
        taken += [] if spot is None else [spot]
    return np.asarray(canvas)


def _dashed(draw: ImageDraw.ImageDraw, rect: Rect, colour: str, width: int, dash: int) -> None:
    """Draw a box with dashes of this length, pixels."""
    x1, y1, x2, y2 = rect
    half = width // 2
    for y in (y1 + half, y2 - half):
        for x in range(round(x1), round(x2) + 1, 2 * dash):
            draw.line((x, y, min(x + dash, x2), y), fill=colour, width=width)
    for x in (x1 + half, x2 - half):
        for y in range(round(y1), round(y2) + 1, 2 * dash):
            draw.line((x, y, x, min(y + dash, y2)), fill=colour, width=width)


def colour_of(c: int) -> str:
    """The colour of class c: six that are distinct for every colour vision, then by hue."""
    if c < len(SERIES):
        return SERIES[c]
    red, green, blue = colorsys.hsv_to_rgb(c * _TURN % 1, 0.75, (0.95, 0.65)[c % 2])
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _tag(
    draw: ImageDraw.ImageDraw,
    text: str,
    rect: Rect,
    taken: Sequence[Rect],
    size: tuple[int, int],
    letters: float,
    colour: str,
) -> Rect | None:
    """Draw a tag at its box where it hides no other; returns its place, or None without one."""
    font = font_for(text, letters)
    ascent, descent = font.getmetrics()
    pad = max(2, round(letters / 6))
    wide, high = draw.textlength(text, font) + 2 * pad, float(ascent + descent)
    spot = tag_place(rect, wide, high, taken, size)
    if spot is None:
        return None
    draw.rectangle(spot, fill=colour)
    red, green, blue = ImageColor.getrgb(colour)[:3]
    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
    draw.text((spot[0] + pad, spot[1]), text, font=font, fill=ink)
    return spot


def tag_place(
    rect: Rect, wide: float, high: float, taken: Sequence[Rect], size: tuple[int, int]
) -> Rect | None:
    """Where a tag of this size goes at its box; None where it would hide another.

    Args: rect: the box; taken: the places of other tags; size: (width, height) of the picture.
    """
    x1, y1, x2, y2 = rect
    places = [(x1, y1 - high), (x1, y1), (x1, y2), (x1, y2 - high), (x2 - wide, y1 - high),
              (x2 - wide, y1), (x2 - wide, y2), (x2 - wide, y2 - high)]  # fmt: skip

    def cost(place: tuple[float, float]) -> float:
        spot = _moved_in((*place, place[0] + wide, place[1] + high), size)
        away = abs(spot[0] - place[0]) + abs(spot[1] - place[1])
        return sum(_shared(spot, other) for other in taken) + high * away

    best = min(places, key=cost)
    spot = _moved_in((*best, best[0] + wide, best[1] + high), size)
    hidden = any(_shared(spot, other) > HIDDEN * wide * high for other in taken)
    return None if hidden else spot


def inside(rect: Rect, size: tuple[int, int]) -> Rect:
    """The part of a box that is in the picture."""
    right, bottom = size[0] - 1, size[1] - 1
    x1, y1 = min(max(rect[0], 0), right), min(max(rect[1], 0), bottom)
    return x1, y1, max(x1, min(rect[2], right)), max(y1, min(rect[3], bottom))


def _moved_in(rect: Rect, size: tuple[int, int]) -> Rect:
    """A tag moved into the picture; if it is wider than that, at least its beginning."""
    x = max(0.0, min(rect[0], size[0] - 1 - (rect[2] - rect[0])))
    y = max(0.0, min(rect[1], size[1] - 1 - (rect[3] - rect[1])))
    return x, y, x + rect[2] - rect[0], y + rect[3] - rect[1]


def _grown(rect: Rect, by: int) -> Rect:
    return rect[0] - by, rect[1] - by, rect[2] + by, rect[3] + by


def _shared(a: Rect, b: Rect) -> float:
    """The area that two tags share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)
