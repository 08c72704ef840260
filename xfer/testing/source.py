"""Checks the contract of a data source; also small pictures that a net can learn."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.sources.base import read
from xfer.kinds.annotation import annotation, boxes_of
from xfer.kinds.base import PLUS
from xfer.types import DataInfo, Sample, Source


def check_source(source: Source, *, samples: int = 16) -> None:
    """Raises AssertionError, naming the failure, unless a source keeps the contract.

    | what | must hold |
    |--|--|
    | info | a DataInfo of a known kind; classes are distinct, non-empty texts |
    | ids | len(source) distinct, non-empty texts |
    | labels | int64 (N,) of -1 .. C-1, or for multilabel, detect and segment int8 (N, C) of |
    |  | -1, 0, 1: for detect 0 or 1, whether the picture has a box of the class |
    | samples | id and label match ids and labels(); image is uint8 (H, W, 3), not empty |
    | boxes | Boxes: finite, inside the picture, one label, flag and area per box; its size |
    | annotation | optional: the sample's boxes, and its picture's size or (0, 0) |
    | read_rows | optional: the picture's size, and its pixels in the requested rows |
    | mask | uint8 in the picture's size, a class index or 255 |
    | again | reading a sample twice, or in two threads at once, gives equal pixels |
    | fingerprint | the same text each time, and after pickling |

    Args:
        samples: number to read, spread over the source.
    """
    count, info = len(source), source.info
    assert isinstance(info, DataInfo), f"info is a {type(info).__name__}, not a DataInfo"
    known = set(info.kind.split(PLUS)) <= set(kinds.KINDS.names())
    assert known, f"unknown kind {info.kind!r}: it is not registered"
    kind = kinds.get(info.kind)
    assert all(isinstance(c, str) and c for c in info.classes), (
        "a class name is not a text, or empty"
    )
    assert len(set(info.classes)) == len(info.classes), "two classes have the same name"
    assert count > 0, "the source is empty"
    assert len(source.ids) == count, f"{len(source.ids)} ids for {count} samples"
    assert all(isinstance(i, str) and i for i in source.ids), "an id is not a text, or empty"
    assert len(set(source.ids)) == count, "two samples have the same id"
    labels = source.labels()
    kind.check_labels(labels, count, info)
    chosen = np.unique(np.linspace(0, count - 1, min(samples, count)).astype(int)).tolist()
    first = [source[i] for i in chosen]
    for i, sample in zip(chosen, first, strict=True):
        _check_sample(sample, i, source, labels)
    with ThreadPoolExecutor(2) as pool:
        for sample, again in zip(first, pool.map(source.__getitem__, chosen), strict=True):
            same = np.array_equal(sample.image, again.image)
            assert same, f"{sample.id}: reading it again gives a different picture"
    for i, sample in zip(chosen, first, strict=True):
        _check_top(sample, i, source)
    _check_fingerprint(source, first[0], chosen[0])


def _check_top(sample: Sample, i: int, source: Source) -> None:
    image, half = sample.image, len(sample.image) // 2
    top = read(source, i, 0, lambda height, width: half).image
    assert top.shape == image.shape, f"{sample.id}: read_rows returns a picture of a different size"
    same = np.array_equal(top[:half], image[:half])
    assert same, f"{sample.id}: read_rows returns different pixels in the first rows"


def _check_sample(sample: Sample, i: int, source: Source, labels: NDArray) -> None:
    assert isinstance(sample, Sample), f"sample {i} is a {type(sample).__name__}"
    name, image = sample.id, sample.image
    assert name == source.ids[i], f"sample {i} has id {name!r}, ids[{i}] is {source.ids[i]!r}"
    assert image.dtype == np.uint8, f"{name}: the image is {image.dtype}, not uint8"
    assert image.ndim == 3 and image.shape[2] == 3, f"{name}: the image is {image.shape}"
    assert image.size, f"{name}: the image has no pixels"
    if sample.boxes is not None:
        _check_columns(sample.boxes, sample)
    kinds.get(source.info.kind).check_sample(sample, labels[i], source.info)
    height, width = image.shape[:2]
    classes = len(source.info.classes)
    if sample.boxes is not None:
        boxes = sample.boxes.xyxy
        assert np.isfinite(boxes).all(), f"{name}: a box is not finite"
        inside = (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()
        assert inside, f"{name}: a box is not inside the picture"
        assert (boxes[:, 2:] > boxes[:, :2]).all(), f"{name}: a box has no area"
        box_labels = sample.boxes.labels
        valid = (box_labels >= 0).all() and (box_labels < classes).all()
        assert valid, f"{name}: a box's label is not a class"
        if hasattr(source, "annotation"):
            _check_annotation(annotation(source, i), sample)
    if sample.mask is not None:
        assert sample.mask.dtype == np.uint8, f"{name}: the mask is {sample.mask.dtype}, not uint8"
        assert sample.mask.shape == (height, width), (
            f"{name}: the mask differs in size from the picture"
        )
        valid = sample.mask[sample.mask != 255]
        assert (valid < classes).all(), f"{name}: the mask has values other than classes and 255"


def _check_columns(boxes: Boxes, sample: Sample) -> None:
    name = sample.id
    assert isinstance(boxes, Boxes), f"{name}: boxes are a {type(boxes).__name__}, not Boxes"
    kind, shape = boxes.xyxy.dtype, boxes.xyxy.shape
    assert kind in (np.float32, np.float64), f"{name}: boxes are {kind}, not float32 or float64"
    assert len(shape) == 2 and shape[1] == 4, f"{name}: boxes are {shape}, not (R, 4)"
    types = {"labels": np.int64, "difficult": np.bool_, "crowd": np.bool_, "area": np.float64}
    for field, wanted in types.items():
        column = getattr(boxes, field)
        assert column.shape == (len(boxes),), f"{name}: not one {field} per box"
        assert column.dtype == wanted, f"{name}: {field} are {column.dtype}, not {wanted.__name__}"
    size = sample.image.shape[:2]
    assert boxes.size in ((0, 0), size), f"{name}: boxes say {boxes.size}, the picture is {size}"


def _check_annotation(annotated: Boxes, sample: Sample) -> None:
    name, expected = sample.id, boxes_of(sample)
    _check_columns(annotated, sample)
    same = np.array_equal(annotated.xyxy.astype(np.float32), expected.xyxy.astype(np.float32))
    assert same, f"{name}: annotation({name}) has different boxes from the sample"
    for field in ("labels", "difficult", "crowd"):
        same = np.array_equal(getattr(annotated, field), getattr(expected, field))
        assert same, f"{name}: annotation and sample disagree on {field}"
    assert np.allclose(annotated.area, expected.area, rtol=1e-4), (
        f"{name}: the areas differ from the sample's"
    )


def _check_fingerprint(source: Source, sample: Sample, i: int) -> None:
    mark = source.fingerprint()
    assert isinstance(mark, str) and mark, "fingerprint() is not a text, or empty"
    assert mark == source.fingerprint(), "fingerprint() changes from call to call"
    copy = pickle.loads(pickle.dumps(source))
    assert mark == copy.fingerprint(), "fingerprint() changes after pickling"
    assert np.array_equal(copy[i].image, sample.image), "after pickling it reads different pictures"


def _disc(image: NDArray[np.uint8], x: int, y: int, r: int, colour: tuple[int, ...]) -> None:
    cv2.circle(image, (x, y), r, colour, -1)


def _square(image: NDArray[np.uint8], x: int, y: int, r: int, colour: tuple[int, ...]) -> None:
    cv2.rectangle(image, (x - r, y - r), (x + r, y + r), colour, -1)


def _triangle(image: NDArray[np.uint8], x: int, y: int, r: int, colour: tuple[int, ...]) -> None:
    cv2.fillPoly(image, [np.array([[x, y - r], [x - r, y + r], [x + r, y + r]])], colour)


def _cross(image: NDArray[np.uint8], x: int, y: int, r: int, colour: tuple[int, ...]) -> None:
    cv2.line(image, (x - r, y - r), (x + r, y + r), colour, max(1, r // 2))
    cv2.line(image, (x - r, y + r), (x + r, y - r), colour, max(1, r // 2))


SHAPES: dict[str, Callable[..., None]] = {
    "disc": _disc, "square": _square, "triangle": _triangle, "cross": _cross,
}  # fmt: skip
# one hue per shape, so that a net learns them within a few steps
COLOURS = ((220, 60, 50), (60, 180, 70), (60, 80, 220), (230, 200, 60))


class SyntheticSource:
    """Coloured shapes on grey noise, drawn on demand; the same pictures for the same seed.

    Args:
        count: number of pictures; classes: how many of disc, square, triangle, cross, 2 to 4.
        size: side of a picture, pixels; seed: of everything; split: the name of the split.
        multilabel: one or more shapes per picture, labels int8 (N, C); else one, int64 (N,).
    """

    def __init__(
        self,
        count: int = 64,
        *,
        classes: int = 3,
        size: int = 32,
        seed: int = 0,
        split: str = "train",
        multilabel: bool = False,
    ) -> None:
        if not 2 <= classes <= len(SHAPES):
            raise ValueError(f"classes must be 2 to {len(SHAPES)}, got {classes}")
        self.size, self.seed = size, seed
        kind = "multilabel" if multilabel else "classify"
        self.info = DataInfo("synthetic", kind, tuple(SHAPES)[:classes], split)
        self.ids = tuple(f"{split}-{seed}-{i:05d}" for i in range(count))
        if multilabel:
            rng = np.random.default_rng((seed, count))
            several = (rng.random((count, classes)) < 0.4).astype(np.int8)
            several[np.arange(count), np.arange(count) % classes] = 1
            self._labels: NDArray = several
        else:
            self._labels = np.arange(count, dtype=np.int64) % classes

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Sample:
        label = self._labels[i]
        shapes = np.flatnonzero(label == 1) if label.ndim else np.array([label])
        rng = np.random.default_rng((self.seed, len(self), i))
        grey = rng.integers(90, 166, (self.size, self.size, 1), np.uint8)
        image = np.ascontiguousarray(np.repeat(grey, 3, axis=2))
        for shape in shapes.tolist():
            r = int(rng.integers(self.size // 6, self.size // 4 + 1))
            x, y = (int(v) for v in rng.integers(r, self.size - r, 2))
            shade = rng.integers(-30, 31, 3)
            colour = tuple(int(v) for v in np.clip(np.add(COLOURS[shape], shade), 0, 255))
            SHAPES[self.info.classes[shape]](image, x, y, r, colour)
        return Sample(self.ids[i], image, label if label.ndim else int(label))

    def labels(self) -> NDArray[np.int64] | NDArray[np.int8]:
        return self._labels

    def fingerprint(self) -> str:
        about = (self.info.kind, self.info.classes, self.ids, self.size, self.seed)
        return hashlib.sha256(repr(about).encode()).hexdigest()
