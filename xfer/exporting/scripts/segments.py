"""Segments of a picture, by an ONNX file: prints their classes and shares of the picture; with
--write also PICTURE_segments.png, whose pixels hold their segment's number, in the order printed.
"""

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from xfer.exporting.scripts.pictures import each_picture, fit, net_input


def cells(count, side, grid):
    """(side, count): how much each cell of the scores counts at each pixel, bilinearly."""
    stride, offset = grid["stride"], grid["offset"]
    read = min(count, max(1, math.ceil((side + (stride - 1) / 2 - offset) / stride)))
    at = np.clip((np.arange(side) - offset) / stride, 0, read - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count))).astype(np.float32)


def largest_around(values, window):
    """(H, W): the largest value of a window around each pixel."""
    for axis in (0, 1):
        margin = [(0, 0), (0, 0)]
        margin[axis] = (window // 2, window // 2)
        wide = np.pad(values, margin, constant_values=-np.inf)
        values = np.lib.stride_tricks.sliding_window_view(wide, window, axis).max(-1)
    return values


def centres(heat, stride, rules):
    """The places (K, 2) of objects' centres, the surest first, and their values (K,)."""
    window = max(1, rules["window"] * stride // 2) * 2 + 1
    found = (heat == largest_around(heat, window)) & (heat >= rules["least_centre"]) & (heat > 0)
    places = np.argwhere(found)
    values = heat[found]
    order = np.argsort(-values, kind="stable")[: rules["most"]]
    return places[order], values[order]


def merge(scores, about, size):
    """int32 (h, w): the segment of each pixel, -1 none; and each one's class and sureness, 0..1."""
    rules, height, width = about["merge"], *size
    y, x = (cells(n, side, about["grid"])
            for n, side in zip(scores.shape[1:], size, strict=True))  # fmt: skip
    whole = y @ (scores @ x.T)
    ways, heat, chance = whole[-2:], whole[-3], whole[:-3]
    chance = np.exp(chance - chance.max(0))
    chance /= chance.sum(0)
    thing = np.array([name in about["things"] for name in about["classes"]])
    stuff = np.where(thing[:, None, None], -1, chance)
    best, label = stuff.max(0), stuff.argmax(0)
    of_things = chance[thing]
    is_thing = of_things.max(0) > best if thing.any() else np.zeros(best.shape, bool)
    segments, labels, sure = np.full(size, -1, np.int32), [], []
    places, values = centres(heat, about["grid"]["stride"], rules)
    if len(places) and is_thing.any():
        rows, columns = np.nonzero(is_thing)
        pointed = np.stack([rows, columns], 1) + rules["unit"] * ways[:, rows, columns].T
        owner, least = np.zeros(len(rows), int), np.full(len(rows), np.inf)
        for k, place in enumerate(places):
            far = ((pointed - place) ** 2).sum(1)
            owner[far < least] = k
            least = np.minimum(far, least)
        for k, value in enumerate(values):
            own = owner == k
            if own.any() and own.sum() >= rules["least_thing"] * height * width:
                votes = of_things[:, rows[own], columns[own]].mean(1)
                segments[rows[own], columns[own]] = len(labels)
                labels.append(int(np.flatnonzero(thing)[votes.argmax()]))
                sure.append(float(np.clip(value * votes.max(), 0, 1)))
    for c in np.unique(label[~is_thing]):
        there = (label == c) & ~is_thing
        if there.sum() >= rules["least_stuff"] * height * width:
            segments[there] = len(labels)
            labels.append(int(c))
            sure.append(float(best[there].mean()))
    return segments, labels, sure


def segments_of(session, about, image):
    """int32 (H, W): the segment of each pixel of a picture, -1 none; the class of each, and how
    sure it is, 0..1."""
    own = about["preprocessing"]
    shown, size = fit(image, own)
    inputs = {"images": net_input(shown, own), "sizes": np.array([size], np.int64)}
    (scores,) = session.run(None, inputs)
    segments, labels, sure = merge(scores[0], about, size)
    rows, columns = (
        np.minimum(((np.arange(wanted) + 0.5) * (count / wanted)).astype(int), count - 1)
        for count, wanted in zip(size, image.shape[:2], strict=True)
    )
    return segments[rows][:, columns], labels, sure


def predict(session, about, image, path):
    segments, labels, sure = segments_of(session, about, image)
    if WRITE:
        place = Path(path)
        numbers = (segments + 1).astype(np.uint16)  # 0: no segment
        Image.fromarray(numbers).save(place.with_name(f"{place.stem}_segments.png"))
    shares = [100 * float((segments == k).mean()) for k in range(len(labels))]
    each = zip(labels, sure, shares, strict=True)
    words = [f"{about['classes'][c]} {score:.4f} {share:.1f} %" for c, score, share in each]
    return ", ".join(words) or "nothing"


WRITE = "--write" in sys.argv
if __name__ == "__main__":
    sys.argv = [word for word in sys.argv if word != "--write"]
    sys.exit(each_picture(predict))
