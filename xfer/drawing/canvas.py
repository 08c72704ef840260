"""Shared by all drawings: colours, text that the fonts can show, and files written atomically."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from matplotlib import font_manager, rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import ImageFont

from xfer.files import replacing

# distinct for every kind of colour vision: Okabe and Ito, "Color Universal Design", 2008
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9",
)  # fmt: skip
INK, GREY, PALE = "#222222", "#777777", "#E8E8E8"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
DPI = 110

# matplotlib brings DejaVu; for scripts that it lacks, the first of these on the system
FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC",
    "Hiragino Sans", "Malgun Gothic", "Apple SD Gothic Neo", "Arial Unicode MS",
    "Noto Sans", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji",
)  # fmt: skip


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; it has no global state, so threads may draw."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, completely or not at all."""
    families = [name for name, _ in _fonts()]
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_usetex(False)
        if len(families) > 1:
            text.set_fontfamily(families)
    # a matplotlibrc in the current folder may ask for TeX, which runs what a name holds
    with replacing(path) as temporary, rc_context({"text.usetex": False}):
        figure.savefig(temporary, format="png", dpi=figure.dpi)


def legible(text: str, limit: int = 24) -> str:
    """Text that matplotlib can show, in at most `limit` columns (a CJK character takes two).

    Characters that no font has become ?, dollars are escaped, and a long text loses its middle,
    which distinguishes fewer names than their ends do.
    """
    known = [charmap for _, charmap in _fonts()]
    shown = [
        char if any(ord(char) in charmap for charmap in known) else "?"
        for char in unicodedata.normalize("NFC", " ".join(text.split()))
    ]
    if _columns(shown) > limit:
        cut = len(shown) // 2
        head, tail = shown[:cut], shown[cut:]
        while _columns(head) + 1 + _columns(tail) > limit:
            if _columns(head) > _columns(tail):
                head.pop()
            else:
                tail.pop(0)
        shown = [*head, "…", *tail]
    return "".join(shown).replace("$", r"\$")


def short(count: int) -> str:
    """A count in about five characters: 8123, 54.1k, 1.6M."""
    if count < 10_000:
        return str(count)
    value, unit = next(
        (count / n, u) for n, u in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if count >= n
    )
    return f"{value:.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"


def font_for(text: str, size: float) -> ImageFont.FreeTypeFont:
    """A font for drawing on pictures: the one with most characters of the text; size in px."""
    fonts = _fonts()
    best = max(fonts, key=lambda font: sum(ord(char) in font[1] for char in text))
    return _pillow_font(best[0], size)


@functools.lru_cache(maxsize=64)
def _pillow_font(family: str, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont(family), size)


def class_labels(classes: Sequence[str], limit: int = 24) -> list[str]:
    """Class names as labels; names with missing characters, or equal labels, get their index."""
    short = [legible(name, limit) for name in classes]
    return [
        label
        if "?" not in label.replace("?", "", name.count("?")) and short.count(label) == 1
        else f"{i} {legible(name, limit - len(str(i)) - 1)}"
        for i, (name, label) in enumerate(zip(classes, short, strict=True))
    ]


def _columns(chars: Sequence[str]) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in chars)


@functools.cache
def _fonts() -> list[tuple[str, dict[int, int]]]:
    """Font families in the order in which they are tried, each with its characters."""
    families: list[tuple[str, dict[int, int]]] = []
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    for name in ("DejaVu Sans", *FALLBACKS):
        if name in installed:
            font = font_manager.get_font(font_manager.findfont(name))
            families.append((name, dict(font.get_charmap())))
    return families
