"""Draw objects on a picture: each with its own tint and outline, and a tag of its class."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from xfer.drawing.boxes import (
    canvas_of,
    choose,
    colour_of,
    inside,
    letters_of,
    tag_boxes,
)
from xfer.drawing.outlines import drawn_mask, paint
from xfer.objects.mask import ObjectMask
from xfer.types import InstancePrediction

LAYER_TINT = 115  # opacity of an object's colour, of 255


def instances_on(
    image: NDArray[np.uint8],
    prediction: InstancePrediction,
    classes: Sequence[str],
    min_score: float | None = None,
    *,
    scores: bool = True,
    side: int = 0,
) -> Image.Image:
    """Draw a picture with its objects, as an RGB image.

    Neighbours differ in colour, whatever their classes; the names are on the tags. Sizes as in
    `xfer.drawing.boxes.boxes_on`, of which the arguments are.
    """
    canvas, scale = canvas_of(image, side)
    size = canvas.size
    chosen = choose(prediction, min_score)
    masks = prediction.masks[chosen].tolist()
    # the best objects are last, and have the first colours
    colours = [colour_of(len(masks) - 1 - k) for k in range(len(masks))]
    pixels = np.array(canvas)
    line = max(1, round(max(size) / 400))
    for mask, colour in zip(masks, colours, strict=True):
        paint(pixels, mask, ImageColor.getrgb(colour)[:3], line)
    canvas = Image.fromarray(pixels)
    draw = ImageDraw.Draw(canvas)
    boxes = prediction.boxes[chosen].astype(float) * scale
    rects = [inside((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), size)
             for x1, y1, x2, y2 in boxes.tolist()]  # fmt: skip
    tag_boxes(draw, prediction, classes, chosen, rects, size, letters_of(size, side), scores,
              colours)  # fmt: skip
    return canvas


def tinted(
    image: NDArray[np.uint8], masks: Sequence[ObjectMask], colours: Sequence[str] = ()
) -> NDArray[np.uint8]:
    """The picture, uint8 (H, W, 3), with each object tinted and outlined.

    Args: colours: of each object; by default all differ.
    """
    pixels = image.copy()
    line = max(1, round(max(image.shape[:2]) / 400))
    for k, mask in enumerate(masks):
        colour = colours[k] if colours else colour_of(k)
        paint(pixels, mask, ImageColor.getrgb(colour)[:3], line)
    return pixels


def instance_layer(prediction: InstancePrediction, side: int) -> NDArray[np.uint8]:
    """What drawing adds to a picture: colours and opacity, uint8 (h, w, 4), at most `side` pixels
    long; objects as in `instances_on`."""
    height, width = prediction.size
    scale = min(1.0, side / max(height, width))
    layer = np.zeros((max(1, round(height * scale)), max(1, round(width * scale)), 4), np.uint8)
    chosen = choose(prediction)
    for k, mask in enumerate(prediction.masks[chosen].tolist()):
        seen = drawn_mask(mask, (layer.shape[1], layer.shape[0]))
        edge = (seen > 0) & (cv2.erode(seen, np.ones((3, 3), np.uint8)) == 0)
        colour = ImageColor.getrgb(colour_of(len(chosen) - 1 - k))[:3]
        layer[seen > 0] = (*colour, LAYER_TINT)
        layer[edge] = (*colour, 255)
    return layer
