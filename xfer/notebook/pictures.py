"""Pictures in what an object shows: a few, small, and inside the notebook's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.drawing.inline import TINY, data_uri, shrunk
from xfer.report.markup import Markup, el, join

SIDE = 360  # longest side, px: shown at half of it, sharp on screens with two pixels to a point
MOST = 24
MOST_NAMED = 40


def figure(
    image: NDArray[np.uint8], lines: Sequence[str], name: str, good: bool | None = None
) -> Markup:
    """A picture, uint8 (H, W, 3), with lines and its name; good: right, wrong, or neither."""
    look = None if good is None else "good" if good else "bad"
    sign = "" if good is None else "✓ " if good else "✗ "
    small = shrunk(image, SIDE)
    words = [f"{sign}{lines[0]}", *lines[1:]] if lines else []
    shot = el("img", src=data_uri(small), alt=f"{name}: {'; '.join(lines)}",
              class_="tiny" if max(small.shape[:2]) <= TINY else None)  # fmt: skip
    first = (el("span", line, class_=f"strong {look or ''}".strip() if place == 0 else None)
             for place, line in enumerate(words))  # fmt: skip
    caption = el("figcaption", *first, el("span", name, class_="soft", title=name))
    return el("figure", el("div", shot, class_="shot"), caption)


def unread(name: str, reason: Any) -> Markup:
    """The place of a picture that can't be shown."""
    return el("figure", el("div", el("span", "not shown", class_="soft"), class_="shot"),
              el("figcaption", el("span", str(reason), class_="bad"),
                 el("span", name, class_="soft")))  # fmt: skip


def sheet(figures: Sequence[Markup], legend: Sequence[tuple[str, str]] = ()) -> Markup:
    """Figures side by side, as many as fit, above them a legend: (name, colour)."""
    swatches = (
        el("li", el("span", class_="swatch colour", style=f"background:{colour}"), name)
        for name, colour in legend[:MOST_NAMED]
    )
    key = el("ul", *swatches, class_="legend") if legend else None
    return join(key, el("div", *figures, class_="sheet"))
