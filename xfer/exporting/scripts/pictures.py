"""
    python FILE.py PICTURE...

FILE.onnx must lie beside it. Needs only: pip install onnxruntime numpy pillow
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def open_model():
    """The session of FILE.onnx, and its metadata."""
    path = Path(__file__).resolve().with_suffix(".onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    return session, {key: json.loads(text) for key, text in texts.items()}


def read_picture(path):
    """uint8 (H, W, 3), upright, RGB, on white where it is transparent."""
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB"))


def places(count, wanted):
    """Where each of `wanted` pixels lies between two of `count`: their numbers, and the share of
    the second."""
    at = np.clip((np.arange(wanted) + 0.5) * (count / wanted) - 0.5, 0, count - 1)
    low = np.floor(at).astype(int)
    return low, np.minimum(low + 1, count - 1), (at - low).astype(np.float32)


def resize(image, width, height):
    """Bilinear; antialiased where a side shrinks by more than a quarter."""
    h, w = image.shape[:2]
    if (w, h) == (width, height):
        return image
    if w > 1.25 * width or h > 1.25 * height:
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    a, b, share = places(h, height)
    rows = image[a] * (1 - share[:, None, None]) + image[b] * share[:, None, None]
    a, b, share = places(w, width)
    whole = rows[:, a] * (1 - share[:, None]) + rows[:, b] * share[:, None]
    return (whole + 0.5).astype(np.uint8)


def shrink(image, short):
    """The picture with a short side of at most `short` pixels, by averaging areas; 0: as it is."""
    h, w = image.shape[:2]
    if not short or min(h, w) <= short:
        return image
    scale = short / min(h, w)
    size = max(short, round(w * scale)), max(short, round(h * scale))
    if scale >= 0.8:
        return resize(image, *size)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def net_input(image, about):
    """uint8 (H, W, 3) as the input `images`, (1, 3, H, W)."""
    one = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
    if about["inside"]:
        return one
    if about["channels"] == "bgr":
        one = one[:, ::-1]
    mean, std = (np.array(about[k], np.float32).reshape(1, 3, 1, 1) for k in ("mean", "std"))
    return ((one * np.float32(about["scale"]) - mean) / std).astype(np.float32)


def crop(image, about):
    """The short side scaled, then the centre square, as the classifier was evaluated."""
    image = shrink(image, about["decode"])
    h, w = image.shape[:2]
    short, size = about["short"], about["size"]
    width = short if w <= h else int(short * w / h)
    height = short if h <= w else int(short * h / w)
    image = resize(image, width, height)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return image[top : top + size, left : left + size]


def fit(image, about):
    """The picture scaled, and padded right and below; and its height and width without padding."""
    h, w = image.shape[:2]
    scale = about["short"] / min(h, w) if about["short"] else 1.0
    if about["long"]:
        scale = min(scale, about["long"] / max(h, w))
    height, width = (max(1, round(side * scale)) for side in (h, w))
    return pad(resize(image, width, height), about), (height, width)


def pad(image, about):
    """A picture padded right and below to a multiple of `pad`, or to the file's own size."""
    h, w = image.shape[:2]
    tall, wide = (max(-(-side // about["pad"]) * about["pad"], about.get("least", 0))
                  for side in (h, w))  # fmt: skip
    if about["side"]:
        tall = wide = about["side"]
    whole = np.empty((tall, wide, 3), np.uint8)
    whole[:] = about["colour"]
    whole[:h, :w] = image
    return whole


def each_picture(predict):
    """Prints a line for each picture named on the command line; returns the exit code."""
    if len(sys.argv) < 2:
        print(f"usage: python {Path(sys.argv[0]).name} PICTURE...", file=sys.stderr)
        return 2
    session, about = open_model()
    bad = 0
    for path in sys.argv[1:]:
        try:
            image = read_picture(path)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            bad = 3
            continue
        print(f"{path}: {predict(session, about, image, path)}")
    return bad
