"""Pictures inside a page: small, each in it once, within a budget of bytes and of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.sources.base import read
from xfer.drawing.inline import TINY, data_uri, shrunk
from xfer.drawing.outlines import outline
from xfer.kinds.base import Kind
from xfer.metrics.example import Example, Mark, Panel
from xfer.objects.mask import ObjectMask
from xfer.report.facts import Live
from xfer.report.markup import Markup, el, join
from xfer.types import Source

SIDE, PLACED_SIDE = 224, 400  # longest side, px; of pictures with labels in pixels
FINEST = 20  # an outline strays by at most a letter's height / FINEST
Pixels = NDArray[np.uint8]


class Budget:
    """What may still be put into a page. Args: size: characters; live: knows the deadline."""

    def __init__(self, size: int, live: Live) -> None:
        self.left, self.live = size, live
        self.refused = 0

    @property
    def spent(self) -> bool:
        return self.left <= 0 or self.live.late

    def take(self, markup: Markup) -> Markup:
        self.left -= len(markup)
        return markup


class Pictures:
    """The scored pictures of a page. Each is drawn once; `number` tells where.

    Args: source: of the scored pictures; kind: knows their views; classes: names; graded: whether
        they are neither right nor wrong, by default the kind's.
    """

    def __init__(
        self, source: Source, kind: Kind, classes: Sequence[str], graded: bool | None = None
    ) -> None:
        self.source, self.kind, self.classes = source, kind, classes
        self.graded = kind.graded if graded is None else graded
        self._where = {name: i for i, name in enumerate(source.ids)}
        self.number: dict[str, int] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def image(self, name: str, side: int = 0) -> Pixels | None:
        """A picture by its id, its short side about `side`; None if it can't be read."""
        place = self._where.get(name)
        if place is None:
            return None
        try:
            return read(self.source, place, side, None).image
        except Exception:  # gone since, or broken: the page goes without it
            return None

    def figures(self, examples: Sequence[Example], budget: Budget) -> tuple[Markup, int]:
        """The examples that are not in the page yet, and how many did not fit into the budget."""
        parts: list[Markup] = []
        todo = [one for one in examples if one.id not in self.number]
        for place, example in enumerate(todo):
            if budget.spent:
                return join(*parts), len(todo) - place
            figure = self._figure(example)
            if figure is not None:
                parts.append(budget.take(figure))
        return join(*parts), 0

    def _figure(self, example: Example) -> Markup | None:
        in_pixels = bool(example.marks or example.truth)  # of the picture's full size
        image = self.image(example.id, 0 if in_pixels or self.kind.placed else SIDE)
        if image is None:
            return None
        if not in_pixels:
            image = shrunk(image, PLACED_SIDE if self.kind.placed else SIDE)
        number = self.number[example.id] = len(self.number) + 1
        words = "; ".join(line for line in example.lines if line)
        views = self.kind.panels(example, image, self.classes)
        drawn = panels(views, f"{example.id}: {words}", f"p{number}")
        good = None if self.graded else example.good
        return figure(example.id, example.lines, drawn, good, f"p{number}")


def figure(
    name: str, lines: Sequence[str], drawn: Markup, good: bool | None = None, id: str | None = None
) -> Markup:
    """A picture with its lines and its name; good: right, wrong, or neither."""
    look = "" if good is None else " right" if good else " wrong"
    sign = "" if good is None else "✓ " if good else "✗ "
    spoken = None if good is None else el("span", "right: " if good else "wrong: ", class_="unseen")
    first = el("span", spoken, el("span", sign, aria_hidden="true") if sign else None,
               lines[0] if lines else "", class_="verdict")  # fmt: skip
    caption = el("figcaption", first, *(el("span", line) for line in lines[1:]),
                 el("span", name, class_="file", title=name))  # fmt: skip
    return el("figure", drawn, caption, class_=f"pic{look}", id=id)


def panels(views: Sequence[Panel], words: str, key: str) -> Markup:
    """The views of a picture side by side; two of the same picture hold it once."""
    drawn: list[Markup] = []
    shared = len(views) > 1 and all(view.image is views[0].image for view in views)
    for place, view in enumerate(views):
        alt = f"{words} ({view.title})" if view.title else words
        if view.marks or shared:
            one = "" if shared else place
            picture = _marked(view, alt, f"{key}i{one}", shared and place > 0)
        else:
            picture = img(view.image, alt)
        title = el("span", view.title, class_="view") if view.title else None
        drawn.append(el("div", picture, title, class_="panel"))
    return el("div", *drawn, class_="panels")


def img(image: Pixels, alt: str) -> Markup:
    """A picture as an image element, no larger than a thumbnail."""
    small = shrunk(image, PLACED_SIDE)
    height, width = small.shape[:2]
    sharp = "sharp" if max(height, width) <= TINY else None
    return el("img", src=data_uri(small), alt=alt, width=width, height=height, class_=sharp,
              loading="lazy", decoding="async")  # fmt: skip


def _marked(view: Panel, alt: str, key: str, again: bool) -> Markup:
    """A view with its boxes; `again`: its picture is in the page already, under `key`."""
    height, width = view.image.shape[:2]
    if again:
        picture = el("use", href=f"#{key}")
    else:
        sharp = "sharp" if max(height, width) <= TINY else None
        picture = el("image", href=data_uri(shrunk(view.image, PLACED_SIDE)), id=key, width=width,
                     height=height, preserveAspectRatio="none", class_=sharp)  # fmt: skip
    size = max(height, width) / 20
    marks = join(*(_mark(mark, width, size) for mark in view.marks))
    return el("svg", picture, marks, viewBox=f"0 0 {width} {height}", role="img",
              aria_label=f"{alt}: {_spoken(view.marks)}", class_="marked")  # fmt: skip


def _mark(mark: Mark, width: int, size: float) -> Markup:
    x1, y1, x2, y2 = (round(float(v), 1) for v in mark.box_xyxy)
    if mark.mask is None:
        rect = {"x": x1, "y": y1, "width": round(max(0.5, x2 - x1), 1),
                "height": round(max(0.5, y2 - y1), 1)}  # fmt: skip
        under, line = (el("rect", **rect, class_=f"box {look}") for look in ("under", mark.role))
    else:
        path = _path(mark.mask, size / FINEST)
        under, line = (
            el("path", d=path, class_=f"box {look}") for look in ("under", f"object {mark.role}")
        )
    if not mark.text:
        return join(under, line)
    place: dict[str, Any] = {"x": x1, "y": round(y1 - size * 0.25, 1)}
    if y1 < size * 1.1:
        place["y"] = round(min(y1, size * 0.1) + size, 1)
    if x1 > width * 0.7:
        place |= {"x": min(x2, width), "text_anchor": "end"}
    words = el("text", mark.text, class_=f"tag {mark.role}", font_size=round(size, 1), **place)
    return join(under, line, words)


def _path(mask: ObjectMask, step: float) -> str:
    """An object's outline as SVG's path data. Args: step: as that of `outline`, pixels."""
    lines = (" ".join(f"{x} {y}" for x, y in line.tolist()) for line in outline(mask, step))
    return "".join(f"M{line}z" for line in lines)


def _spoken(marks: Sequence[Mark]) -> str:
    if not marks:
        return "no boxes"
    texts = [f"{mark.role} {mark.text}".strip() for mark in marks[:12]]
    more = f" and {len(marks) - 12} more" if len(marks) > 12 else ""
    return ", ".join(texts) + more
