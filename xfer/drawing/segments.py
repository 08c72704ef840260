"""Draw segments over their pictures, in shades of their classes, and write COCO's panoptic PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from xfer.drawing.masks import (
    BLEND,
    DIM,
    IGNORE,
    LARGEST,
    SMALLEST,
    is_background,
    legend_of,
    mask_colour,
)
from xfer.files import replacing
from xfer.objects.segments import VOID, Segments

# brightness of a class's first, second ... segment, of 1; then again from the first
SHADES = (1.0, 0.72, 1.28, 0.86, 1.14, 0.58, 1.42)


def fitted(segments: Segments, size: tuple[int, ...]) -> Segments:
    """The segments at the size (H, W) of a picture: each pixel takes the nearest one's segment."""
    height, width = size[:2]
    own = segments.map
    if own.shape == (height, width):
        return segments
    rows = np.arange(height) * own.shape[0] // height
    return segments.mapped(own[rows][:, np.arange(width) * own.shape[1] // width])


def shades(segments: Segments) -> NDArray[np.uint8]:
    """uint8 (S, 3): the colour of each segment, that of its class lighter or darker."""
    seen: dict[int, int] = {}
    colours = np.zeros((len(segments), 3), np.uint8)
    for k, label in enumerate(segments.labels.tolist()):
        place = seen[label] = seen.get(label, -1) + 1
        base = np.array(ImageColor.getrgb(mask_colour(label))[:3])
        colours[k] = np.clip(base * SHADES[place % len(SHADES)], 0, 255)
    return colours


def blend(
    image: NDArray[np.uint8], segments: Segments, classes: Sequence[str]
) -> NDArray[np.uint8]:
    """Tint the picture (H, W, 3) by segment, uint8, with outlines where segments meet; void is
    dark."""
    colours, strength = _tints(segments, classes)
    rows = segments.map  # VOID, -1, is the last row
    tinted = image * (1 - strength[rows]) + (colours * strength)[rows]
    tinted[_edges(rows)] = 255
    return np.clip(np.rint(tinted), 0, 255).astype(np.uint8)


def layer(segments: Segments, classes: Sequence[str], side: int) -> NDArray[np.uint8]:
    """What `blend` adds to a picture, with its opacity, uint8 (h, w, 4); the longest side is at
    most `side` pixels."""
    height, width = segments.size
    scale = min(1.0, side / max(height, width, 1))
    small = fitted(segments, (max(1, round(height * scale)), max(1, round(width * scale))))
    colours, strength = _tints(small, classes)
    painted = np.rint(np.concatenate([colours, 255 * strength], 1)).astype(np.uint8)[small.map]
    painted[_edges(small.map)] = 255
    return painted


def overlay(image: NDArray[np.uint8], segments: Segments, classes: Sequence[str]) -> Image.Image:
    """Draw the picture under its segments, with a legend of the classes and their shares.

    It is enlarged by a whole number if it is small (long side below 320), and shrunk to 1600.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    scale = min(1.0, LARGEST / longest) if longest > SMALLEST else float(-(-SMALLEST // longest))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.BICUBIC
    resized = np.asarray(Image.fromarray(image).resize(size, method))
    blended = Image.fromarray(blend(resized, fitted(segments, size[::-1]), classes))
    counts = np.bincount(segments.classes(IGNORE).ravel(), minlength=IGNORE + 1)
    legend = legend_of(counts / max(1, segments.map.size), classes, size[0])
    canvas = Image.new("RGB", (size[0], size[1] + legend.height), "white")
    canvas.paste(blended, (0, 0))
    canvas.paste(legend, (0, size[1]))
    return canvas


def draw_segments(
    image: NDArray[np.uint8], segments: Segments, classes: Sequence[str], path: Path
) -> None:
    """Write the picture with its segments over it and a legend below, as PNG."""
    with replacing(path) as temporary:
        overlay(image, segments, classes).save(temporary, format="png")


def segment_ids(segments: Segments) -> NDArray[np.int64]:
    """(S,) ids for COCO's panoptic format: R + 256 G + 65536 B of a colour near the segment's
    shade, each another one and none 0, which is void."""
    taken = {0}
    ids = np.zeros(len(segments), np.int64)
    for k, (red, green, blue) in enumerate(shades(segments).astype(int).tolist()):
        code = red + 256 * green + 65536 * blue
        while code in taken:
            code = (code + 1) % (1 << 24)
        taken.add(code)
        ids[k] = code
    return ids


def save_panoptic(segments: Segments, path: Path) -> None:
    """Write the map as COCO's panoptic PNG: each pixel's colour is the id of its segment, see
    `segment_ids`; void is black."""
    codes = np.append(segment_ids(segments), 0)[segments.map]
    colours = np.stack([codes & 255, codes >> 8 & 255, codes >> 16], 2).astype(np.uint8)
    with replacing(path) as temporary:
        Image.fromarray(colours).save(temporary, format="png")


def _tints(
    segments: Segments, classes: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """By segment, the colour (S + 1, 3) and the share of it (S + 1, 1), 0..1; void's is last."""
    colours = np.append(shades(segments), [[DIM // 2] * 3], 0).astype(np.float32)
    names = [str(classes[c]) for c in segments.labels.tolist()]
    plain = [is_background(name) for name in names]
    strength = np.array([0 if one else BLEND for one in plain] + [0.8], np.float32)
    return colours, strength[:, None]


def _edges(rows: NDArray[np.int32]) -> NDArray[np.bool_]:
    """bool (H, W): where a pixel's segment differs from that above or left of it."""
    edge = np.zeros(rows.shape, bool)
    edge[1:] |= rows[1:] != rows[:-1]
    edge[:, 1:] |= rows[:, 1:] != rows[:, :-1]
    return edge


def wrong_pixels(
    image: NDArray[np.uint8], truth: Segments, predicted: Segments, matched: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """The picture in pale grey, uint8 (H, W, 3), with the pixels in red that are not in the match
    of their segment; void is dark.

    Args: matched: (S,) of the truth, the predicted segment that matches each; VOID: none.
    """
    from xfer.drawing.masks import wrong_pixels as paint

    partner = np.append(matched, VOID)[truth.map]
    right = (partner == predicted.map) & (partner != VOID)
    labelled = np.where(truth.map == VOID, IGNORE, 0).astype(np.uint8)
    return paint(image, labelled, np.where(right, 0, 1).astype(np.uint8))
