"""Objects in pictures, by an ONNX file: class, score, pixels, and left, top, right, bottom; with
--write also PICTURE_objects.png, whose pixels hold their object's number, in the order printed."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from xfer.exporting.scripts.pictures import each_picture, fit, net_input


def objects_of(session, about, image, path):
    """Boxes (R, 4) in pixels of the picture, scores (R,), classes (R,), best first, and the mask of
    each: (R, 28, 28), the probability of each part of its box."""
    h, w = image.shape[:2]
    shown, (height, width) = fit(image, about["preprocessing"])
    inputs = {"images": net_input(shown, about["preprocessing"]),
              "sizes": np.array([[height, width]], np.int64)}  # fmt: skip
    scale = np.array([width / w, height / h, width / w, height / h], np.float32)
    if "proposals" in about["inputs"]:  # this detector is shown where to look
        file = Path(path).with_suffix(".npy")
        if not file.exists():
            sys.exit(f"{file}: not there; it must hold proposals for {path}: float32 (P, 4), "
                     f"left, top, right, bottom in pixels ({about['proposals']})")  # fmt: skip
        inputs["proposals"] = (np.load(file).astype(np.float32) * scale)[None]
    boxes, scores, labels, masks = session.run(None, inputs)
    there = scores[0] > 0
    boxes = np.clip(boxes[0][there] / scale, 0, [w, h, w, h])
    return boxes, scores[0][there], labels[0][there], masks[0][there]


def pixels_of(box, mask, h, w):
    """Which pixels of a picture belong to an object: bool (h, w)."""
    whole = np.zeros((h, w), bool)
    windows, weights = [], []
    for low, high, limit in ((box[1], box[3], h), (box[0], box[2], w)):
        first, last = max(0, int(np.ceil(low - 0.5))), min(limit, int(np.ceil(high - 0.5)))
        places = (np.arange(first, max(first, last)) + 0.5 - low) / max(high - low, 1e-6)
        places = np.clip(places * len(mask) - 0.5, 0, len(mask) - 1)
        windows.append(slice(first, max(first, last)))
        weights.append(np.maximum(1 - np.abs(places[:, None] - np.arange(len(mask))), 0))
    whole[windows[0], windows[1]] = weights[0] @ mask @ weights[1].T >= 0.5
    return whole


def predict(session, about, image, path):
    h, w = image.shape[:2]
    boxes, scores, labels, masks = objects_of(session, about, image, path)
    seen = [k for k in range(len(scores)) if scores[k] >= 0.5]
    numbers, lines = np.zeros((h, w), np.uint16), []
    for number, k in reversed(list(enumerate(seen, 1))):  # the best is on top
        pixels = pixels_of(boxes[k], masks[k], h, w)
        numbers[pixels] = number
        place = ", ".join(f"{v:.1f}" for v in boxes[k])
        name = about["classes"][labels[k]]
        lines.insert(0, f"{name} {scores[k]:.4f} {pixels.sum()} px [{place}]")
    if WRITE:
        place = Path(path)
        Image.fromarray(numbers).save(place.with_name(f"{place.stem}_objects.png"))
    return ", ".join(lines) or f"nothing of at least 0.5 ({len(scores)} weaker objects)"


WRITE = "--write" in sys.argv
if __name__ == "__main__":
    sys.argv = [word for word in sys.argv if word != "--write"]
    sys.exit(each_picture(predict))
