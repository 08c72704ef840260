"""Draw masks over their pictures, and write masks as palette PNGs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from xfer.drawing.boxes import colour_of
from xfer.drawing.canvas import RED, class_labels, font_for
from xfer.errors import DataError
from xfer.files import replacing
from xfer.types import MaskPrediction, Sample

IGNORE = 255
SMALLEST, LARGEST = 320, 1600
BLEND = 0.55  # share of the class colour; the rest is the picture
DIM = 90  # brightness of ignored pixels in the legend, of 255
MAX_NAMED = 40
# distinct over large areas and on pictures: Trubetskoy, "List of 20 simple, distinct colors",
# 2017, without its lightest; then by hue
COLOURS = (
    "#4363d8", "#ffe119", "#e6194b", "#3cb44b", "#f58231", "#42d4f4", "#911eb4", "#bfef45",
    "#f032e6", "#469990", "#9a6324", "#dcbeff", "#800000", "#808000", "#fabed4", "#000075",
    "#aaffc3",
)  # fmt: skip


def voc_palette() -> NDArray[np.uint8]:
    """PASCAL VOC's colours for 256 indices, uint8 (256, 3): 0 is black, 255 nearly white.

    Bits 0, 1, 2 of the index are bit 7 of red, green and blue, the next three bits bit 6, ...
    Source: VOCdevkit, VOClabelcolormap.m.
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = index >> (3 * place + channel) & 1
            colours[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours


def save_palette(mask: NDArray[np.uint8], path: Path) -> None:
    """Write a mask, uint8 (H, W), as a palette PNG: its indices, displayed in VOC's colours."""
    image = Image.fromarray(np.ascontiguousarray(mask))
    image.putpalette(voc_palette().tobytes())
    with replacing(path) as temporary:
        image.save(temporary, format="png")


def draw_mask_prediction(
    image: NDArray[np.uint8], prediction: MaskPrediction, classes: Sequence[str], path: Path
) -> None:
    """Write the picture with the predicted classes over it and a legend below.

    Args:
        image: uint8 (H, W, 3), of the prediction's size; classes: names.
    """
    with replacing(path) as temporary:
        overlay(image, prediction.mask, classes).save(temporary, format="png")


def draw_mask(sample: Sample, classes: Sequence[str], path: Path) -> None:
    """Write a sample's picture with its mask over it. Raises DataError if it has none."""
    if sample.mask is None:
        raise DataError(f"{sample.id}: no mask is known for this picture")
    with replacing(path) as temporary:
        overlay(sample.image, sample.mask, classes).save(temporary, format="png")


def overlay(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], classes: Sequence[str]
) -> Image.Image:
    """Draw the picture under its mask, with a legend of its classes and their shares.

    It is enlarged by a whole number if it is small (long side below 320), and shrunk to 1600.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    scale = min(1.0, LARGEST / longest) if longest > SMALLEST else float(-(-SMALLEST // longest))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.BICUBIC
    resized = np.asarray(Image.fromarray(image).resize(size, method))
    small = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    blended = Image.fromarray(blend(resized, small, classes))
    shares = np.bincount(mask.ravel(), minlength=IGNORE + 1) / max(1, mask.size)
    legend = legend_of(shares, classes, size[0])
    canvas = Image.new("RGB", (size[0], size[1] + legend.height), "white")
    canvas.paste(blended, (0, 0))
    canvas.paste(legend, (0, size[1]))
    return canvas


def blend(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], classes: Sequence[str]
) -> NDArray[np.uint8]:
    """Tint the picture (H, W, 3) by class, uint8, with outlines where classes meet.

    A class named background is not tinted, ignored pixels are dark.
    """
    colours, strength = _tints(classes)
    tint = (colours * strength)[mask]
    tinted = image * (1 - strength[mask]) + tint
    tinted[_edges(mask)] = 255
    return np.clip(np.rint(tinted), 0, 255).astype(np.uint8)


def mask_layer(mask: NDArray[np.uint8], classes: Sequence[str], side: int) -> NDArray[np.uint8]:
    """What `blend` adds to a picture, with its opacity, uint8 (h, w, 4), to be laid over it.

    Args: mask: uint8 (H, W); side: the longest side of the result, pixels.
    """
    height, width = mask.shape
    scale = min(1.0, side / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    colours, strength = _tints(classes)
    layer = np.rint(np.concatenate([colours, 255 * strength], 1)).astype(np.uint8)[mask]
    layer[_edges(mask)] = 255
    return layer


def _tints(classes: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """By class index, the colour (256, 3) and the share of it (256, 1), 0..1."""
    colours = np.zeros((256, 3), np.float32)
    strength = np.zeros((256, 1), np.float32)
    for c, name in enumerate(classes):
        colours[c] = ImageColor.getrgb(mask_colour(c))[:3]
        strength[c] = 0 if is_background(name) else BLEND
    colours[IGNORE], strength[IGNORE] = DIM / 2, 0.8
    return colours, strength


def _edges(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """bool (H, W): where a pixel's class differs from that above or left of it."""
    edge = np.zeros(mask.shape, bool)
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return edge


def fitted(mask: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask in the size of its picture: each pixel takes the nearest one's class."""
    height, width = image.shape[:2]
    if mask.shape == (height, width):
        return mask
    rows = np.arange(height) * mask.shape[0] // height
    return mask[rows][:, np.arange(width) * mask.shape[1] // width]


def wrong_pixels(
    image: NDArray[np.uint8], truth: NDArray[np.uint8], predicted: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The picture in pale grey, uint8 (H, W, 3), with the wrong pixels in red; ignored ones are
    dark. The masks are (H, W)."""
    grey = image.mean(2, keepdims=True).repeat(3, 2) * 0.5 + 110
    grey[truth == IGNORE] *= 0.45
    wrong = (truth != predicted) & (truth != IGNORE)
    grey[wrong] = grey[wrong] * 0.25 + 0.75 * np.array(ImageColor.getrgb(RED)[:3])
    return np.clip(grey, 0, 255).astype(np.uint8)


def is_background(name: str) -> bool:
    """Whether a class is the background."""
    return name.casefold() in ("background", "_background_", "bg")


def mask_colour(c: int) -> str:
    """The colour of class c on pictures."""
    return COLOURS[c] if c < len(COLOURS) else colour_of(c)


def legend_of(
    shares: Sequence[float] | NDArray[np.float64], classes: Sequence[str], width: int
) -> Image.Image:
    """Draw a strip of the given width: a swatch, name and share for each class with a share, the
    largest first, in as many columns as fit.

    Args:
        shares: (256,) of the picture's area, by class index.
    """
    values = np.asarray(shares, np.float64)
    order = [c for c in np.argsort(-values, kind="stable").tolist() if values[c] > 0]
    labels = class_labels(classes)
    entries = [
        (c, "ignored" if c == IGNORE else labels[c].replace(r"\$", "$"), values[c])
        for c in order[:MAX_NAMED]
    ]
    letters = min(26.0, max(11.0, width / 46))
    fonts = [font_for(name, letters) for _, name, _ in entries]
    texts = [f"{name} {_percent(share)}" for _, name, share in entries]
    pad = round(letters / 2)
    swatch = round(letters * 1.1)
    row = round(letters * 1.6)
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    widest = max((probe.textlength(t, f) for t, f in zip(texts, fonts, strict=True)), default=0.0)
    cell = swatch + 3 * pad + round(widest)
    columns = max(1, min(len(entries), (width - pad) // cell))
    rows = -(-len(entries) // columns)
    strip = Image.new("RGB", (width, rows * row + pad), "white")
    draw = ImageDraw.Draw(strip)
    for n, ((c, name, _), text, font) in enumerate(zip(entries, texts, fonts, strict=True)):
        x, y = pad + n // rows * cell, pad // 2 + n % rows * row
        box = (x, y + (row - swatch) // 2, x + swatch, y + (row + swatch) // 2)
        blank = c != IGNORE and is_background(name)
        fill = "white" if blank else f"rgb({DIM},{DIM},{DIM})" if c == IGNORE else mask_colour(c)
        draw.rectangle(box, fill=fill, outline="#777777")
        draw.text((x + swatch + pad, y + row / 2), text, font=font, fill="#222222", anchor="lm")
    return strip


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.095 else f"{share:.1%}" if share >= 0.0005 else "< 0.1%"
