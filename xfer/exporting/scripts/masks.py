"""The class of every pixel, by an ONNX file: prints each class's share of the picture, and writes
PICTURE_mask.png, class indices, with --write.
"""

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from xfer.exporting.scripts.pictures import each_picture, fit, net_input, pad


def cells(places, count, side, grid):
    """(P, count): how much each cell of the scores counts at each place, bilinearly."""
    stride, offset = grid["stride"], grid["offset"]
    read = min(count, max(1, math.ceil((side + (stride - 1) / 2 - offset) / stride)))
    at = np.clip((places - offset) / stride, 0, read - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count))).astype(np.float32)


def windows(side, window):
    """(start, stop, first kept, last kept) of windows that cover a side."""
    if side <= window:
        return [(0, side, 0, side)]
    margin, covering, start, kept = window // 8, [], 0, 0
    step = max(32, (window - 2 * margin) // 32 * 32)
    while kept < side:
        stop = min(side, start + window)
        last = side if stop == side else stop - margin
        covering.append((start, stop, kept, last))
        start, kept = start + step, last
    return covering


def mask_of(session, about, image):
    """uint8 (H, W): the class of each pixel."""
    h, w = image.shape[:2]
    own = about["preprocessing"]
    canvas, (height, width) = fit(image, {**own, "side": 0})
    if about["outputs"] == ["masks"]:
        inputs = {"images": net_input(pad(canvas, own), own),
                  "sizes": np.array([[height, width]], np.int64),
                  "originals": np.array([[h, w]], np.int64)}  # fmt: skip
        return session.run(None, inputs)[0][0]
    rows = (np.arange(h) + 0.5) * (height / h) - 0.5
    columns = (np.arange(w) + 0.5) * (width / w) - 0.5
    mask = np.zeros((h, w), np.uint8)
    for top, bottom, first, last in windows(canvas.shape[0], own["window"]):
        down = slice(*np.searchsorted(rows, [first - 0.5, last - 0.5]))
        for left, right, before, after in windows(canvas.shape[1], own["window"]):
            across = slice(*np.searchsorted(columns, [before - 0.5, after - 0.5]))
            size = min(bottom, height) - top, min(right, width) - left
            part = pad(canvas[top:bottom, left:right], own)
            (scores,) = session.run(None, {"images": net_input(part, own),
                                           "sizes": np.array([size], np.int64)})  # fmt: skip
            y = cells(rows[down] - top, scores.shape[2], size[0], about["grid"])
            x = cells(columns[across] - left, scores.shape[3], size[1], about["grid"])
            if y.size and x.size:
                mask[down, across] = (y @ (scores[0] @ x.T)).argmax(0)
    return mask


def predict(session, about, image, path):
    mask = mask_of(session, about, image)
    if WRITE:
        place = Path(path)
        Image.fromarray(mask).save(place.with_name(f"{place.stem}_mask.png"))
    counts = np.bincount(mask.ravel(), minlength=len(about["classes"]))
    order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
    return ", ".join(f"{about['classes'][k]} {100 * counts[k] / mask.size:.1f} %" for k in order)


WRITE = "--write" in sys.argv
if __name__ == "__main__":
    sys.argv = [word for word in sys.argv if word != "--write"]
    sys.exit(each_picture(predict))
