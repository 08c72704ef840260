"""Sources of pictures on which shapes were drawn, in labelme or VIA: read as boxes, as objects
with their outlines, or as masks.

A box is a rectangle as drawn, or the box around a polygon, circle or ellipse. Shapes without an
area, points and lines, are counted and left out. A rectangle is a box, and no object's outline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.images.size import sizes_of
from xfer.data.images.walk import readable
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.readers.coco.outlines import Shape, outline_instances, outline_masks
from xfer.data.sources.box_frames import settle_frames
from xfer.data.sources.box_rules import settle
from xfer.data.sources.boxes import BoxSource, box_table
from xfer.data.sources.split_names import role_of
from xfer.types import DataInfo, Source

CORNERS = 64  # of the polygon that stands for a circle


@dataclass(frozen=True)
class Drawn:
    """One shape: its class, and its outlines x y x y ... in pixels; whether it is a rectangle."""

    label: str
    outlines: tuple[tuple[float, ...], ...]
    rectangle: bool = False

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """The box around it."""
        x = [v for points in self.outlines for v in points[::2]]
        y = [v for points in self.outlines for v in points[1::2]]
        return min(x), min(y), max(x), max(y)


def rectangle(label: str, x1: float, y1: float, x2: float, y2: float) -> Drawn:
    """A rectangle, its corners in any order."""
    left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    return Drawn(label, ((left, top, right, top, right, bottom, left, bottom),), True)


def ellipse(label: str, x: float, y: float, across: float, down: float) -> Drawn:
    """An ellipse, by its centre and half its width and height, as a polygon."""
    angles = [2 * math.pi * k / CORNERS for k in range(CORNERS)]
    points = [v for a in angles for v in (x + across * math.cos(a), y + down * math.sin(a))]
    return Drawn(label, (tuple(points),))


def drawn_source(
    root: Path,
    split: str,
    classes: Sequence[str],
    files: Sequence[str],
    ids: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    shapes: Sequence[Sequence[Drawn]],
    labels: Sequence[Path | None],
    options: ReadOptions,
    reading: Reading,
) -> Source:
    """The source of one split; adds notes to `reading`.

    Args:
        files, ids, sizes, shapes, labels: of each picture its file, its name, its height and width,
            (0, 0) where not given, what is drawn on it, and the file that says so.
    """
    given = np.array(sizes, np.int64).reshape(-1, 2)
    unsized = np.flatnonzero(~given.all(1))
    if len(unsized):
        given[unsized] = sizes_of([root / files[i] for i in unsized.tolist()])
    places = {name: c for c, name in enumerate(classes)}
    picture = np.repeat(np.arange(len(files)), [len(own) for own in shapes])
    boxes = np.array([s.xyxy for own in shapes for s in own], np.float64).reshape(-1, 4)
    if options.kind and not kinds.get(options.kind).boxes:
        framed, lines = settle_frames(root, files, given, picture, boxes)
        reading.notes.extend(f"{split}: {line}" for line in lines)
        outlined = [[Shape(places[s.label], s.outlines, s.xyxy) for s in own] for own in shapes]
        return outline_masks(
            root, split, classes, files, framed, outlined, labels, options, reading
        )
    settled = settle(boxes, picture, given, ids, root, files)
    reading.notes.extend(f"{split}: {line}" for line in settled.lines)
    keep = settled.keep
    names = np.array([places[s.label] for own in shapes for s in own], np.int64)
    objects = picture[keep], Boxes.of(settled.boxes_xyxy[keep], names[keep])
    title = readable(root.absolute().name)
    info = DataInfo(title, "detect", tuple(classes), role_of(split) or split)
    if not options.kind or not kinds.get(options.kind).outlined:
        return BoxSource(info, root, list(files), box_table(*objects, settled.sizes), list(ids))
    drawn = [s.outlines if not s.rectangle else () for own in shapes for s in own]
    outlines = [drawn[k] for k in np.flatnonzero(keep).tolist()]
    return outline_instances(
        replace(info, kind=options.kind), root, list(files), list(ids), *objects, outlines,
        settled.sizes, reading,
    )  # fmt: skip
