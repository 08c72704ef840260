"""`yolo`: a txt of boxes for every picture, with a data.yaml or darknet's files.

    data.yaml: path, train, val, test, names           Ultralytics, Roboflow
    obj.data, obj.names, train.txt                     darknet, CVAT's YOLO 1.1; see `darknet`
    classes.txt, images/, labels/                      labelImg, Label Studio, Roboflow

The labels of images/a/x.jpg are in labels/a/x.txt (the last `images` in the path is replaced), or
next to the picture. A split is a folder, a list of folders, or a txt with a path per line; a path
that is not there is looked for by its end. A missing test split is left out, since Roboflow may
name one that does not exist; a split without any label file has only pictures.

Lines of seven columns or more are outlines: for --task segment they are drawn as masks, with a
class background; for --task instance each is an object; for --task detect the box around it counts.

A picture without a label file is background; a label file without a picture is counted. Boxes are
centre and size as shares; corners or left and top under that name are read as such if centres are
implausible over the whole split, see `sources/box_forms`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.images.size import TURNED, headers_of, upright_sizes
from xfer.data.images.threads import cores
from xfer.data.images.walk import find_pictures, is_junk, is_picture, listing, readable
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.coco.outlines import Shape, outline_instances, outline_masks
from xfer.data.readers.table.locate import Locator
from xfer.data.readers.unlisted import note_unlisted
from xfer.data.readers.yolo.darknet import (
    ROBOFLOW,
    TABLES,
    data_file_setup,
    find_data_file,
    find_table,
    nameless,
    roboflow_setup,
    table_setup,
    tables_of_splits,
)
from xfer.data.readers.yolo.labels import YoloFile, read_yolo_text
from xfer.data.readers.yolo.setup import Setup, find_yaml, read_setup
from xfer.data.sources.box_forms import from_xyxy, judge
from xfer.data.sources.box_rules import clean_boxes, leave_out
from xfer.data.sources.boxes import BoxSource, box_table
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError, listed
from xfer.files import is_file, lines_of
from xfer.types import DataInfo, Source

LABELS = {"images": "labels", "Images": "Labels", "IMAGES": "LABELS"}
# files that lie among the labels and are none
NO_LABELS = frozenset((*TABLES, ROBOFLOW, "train.txt", "val.txt", "valid.txt", "test.txt",
                       "README.txt", "README.dataset.txt", "README.roboflow.txt"))  # fmt: skip


@FORMATS.register("yolo")
class Yolo:
    """YOLO's txt files with a data.yaml, or with darknet's files."""

    kinds: ClassVar[tuple[str, ...]] = ("detect", "segment", "instance")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        file = find_yaml(path) or find_data_file(path)
        if file is not None:
            return f"YOLO, {file.name}"
        if tables_of_splits(path):
            return f"YOLO, {ROBOFLOW}"
        plain = find_table(path)
        if plain is not None:
            return f"YOLO, {plain[0].relative_to(path)} and {plain[2]}"
        return "YOLO, labels/ without names of classes" if nameless(path) else None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        if (file := find_yaml(path)) is not None:
            setup = read_setup(file)
        elif (file := find_data_file(path)) is not None:
            setup = data_file_setup(file)
        elif tables_of_splits(path):
            setup = roboflow_setup(path)
        elif (plain := find_table(path)) is not None:
            setup = table_setup(path, plain[0], plain[1], options.named)
        elif numbers := nameless(path):
            shown = ", ".join(map(str, sorted(numbers)[:9])) + (", ..." if len(numbers) > 9 else "")
            raise DataError(
                f"{path}: no file says the names of the classes that labels/ numbers {shown}",
                f"write {path / 'classes.txt'} with a name on each line, the first for 0",
            )
        else:
            raise DataError(
                f"{path}: no data.yaml in it, and no obj.data or classes.txt",
                "write one with train: images/train, val: images/val and names: [cat, dog]",
            )
        reading = Reading({}, list(setup.notes))
        for split in setup.splits:
            reading.parts[split] = _source(setup, split, options, reading)
        if any(place.is_file() for one in setup.splits.values() for place in one.places):
            note_unlisted(reading)
        if not reading.labelled:
            raise DataError(f"{path}: no label files in labels/ next to images/")
        return reading


def _pictures(
    place: Path, root: Path, reading: Reading
) -> tuple[list[Path], list[tuple[str, str]]]:
    """The pictures of a folder or list, and (name, reason) of those that the list names in vain."""
    if place.is_dir():
        return find_pictures(place), []
    lines = lines_of(place)
    found = Locator(place, ["", root.absolute()]).find_all(lines)
    reading.notes.extend(f"{place.name}: {note}" for note in found.notes(lines))
    return [place.parent / path for path in found.places if path is not None], found.lost(lines)


def label_file(picture: Path) -> Path:
    """The label file of a picture: the last `images` in its path is replaced by `labels` (`Images`
    by `Labels`); next to the picture if there is no such file."""
    parts = list(picture.with_suffix(".txt").parts)
    for k in range(len(parts) - 2, -1, -1):
        if parts[k] in LABELS:
            parts[k] = LABELS[parts[k]]
            break
    there = Path(*parts)
    return there if is_file(there) else picture.with_suffix(".txt")


def _source(setup: Setup, split: str, options: ReadOptions, reading: Reading) -> Source:
    """The source of one split; adds notes to `reading`."""
    places, classes = setup.splits[split].places, setup.splits[split].classes
    every = [_pictures(place, setup.root, reading) for place in places]
    pictures = list(dict.fromkeys(p for found, _ in every for p in found))
    gone = [one for _, lost in every for one in lost]
    if gone and not pictures:
        first = f"{gone[0][0]} ({gone[0][1]})"
        raise DataError(f"{places[0]}: none of its {len(gone)} pictures is there: {first}")
    leave_out(split, "pictures are not there", gone, options.skip_bad, reading.skipped)
    if not pictures:
        raise DataError(f"{', '.join(map(str, places))}: no pictures of {split} in it")

    def look(picture: Path) -> tuple[Path, YoloFile | str | None]:
        file = label_file(picture)
        try:
            if not is_file(file):
                return file, None
            return file, read_yolo_text(file, len(classes), setup.keypoints)
        except DataError as error:
            return file, error.message

    with ThreadPoolExecutor(cores()) as pool:
        looked = list(pool.map(look, pictures))
    read = [labels for _, labels in looked]
    bad = [(_relative(file, setup.root), t) for file, t in looked if isinstance(t, str)]
    leave_out(split, "label files can't be used", bad, options.skip_bad, reading.skipped)
    known = [(p, t) for p, t in zip(pictures, read, strict=True) if not isinstance(t, str)]
    without = sum(t is None for _, t in known)
    if without == len(known):
        if bad:
            what = f"{split}: none of its {len(bad)} label files can be used"
            raise DataError(f"{what}: {bad[0][0]} ({bad[0][1]})")
        info = DataInfo(readable(setup.root.absolute().name), "images", (), role_of(split) or split)
        files = [_relative(p, setup.root) for p, _ in known]
        return FileSource(info, setup.root, files, np.full(len(files), -1, np.int64))
    if without:
        reading.notes.append(f"{split}: {without} pictures without a label file are background")
    repeated = sum(t.repeated for _, t in known if t is not None)
    if repeated:
        reading.notes.append(f"warning: {split}: {repeated} repeated lines are read once")
    tracks = sum(t.tracks > 0 for _, t in known if t is not None)
    if tracks:
        reading.leave("column", "columns", [f"the sixth, a track, of {tracks} label files"])
    beside: dict[str, set[str]] = {}  # text is much quicker than paths
    for file, _ in looked:
        folder, _, name = os.fspath(file).rpartition("/")
        beside.setdefault(folder, set()).add(name)
    for table in (Path(folder, TABLES[0]) for folder in beside):
        if table.is_file() and tuple(lines := lines_of(table)) != classes:
            reading.notes.append(f"warning: {split}: {_relative(table, setup.root)} names other "
                                 f"classes, {listed(lines, 5)}: not used")  # fmt: skip
    if alone := _without_picture(beside, pictures, setup.root):
        what = "label file has" if len(alone) == 1 else "label files have"
        reading.notes.append(
            f"warning: {split}: {len(alone)} {what} no picture: {listed(alone, 5)}"
        )
    files = [_relative(p, setup.root) for p, _ in known]
    names = [readable(Path(f).as_posix()) for f in files]
    headers = headers_of([p for p, _ in known])
    sizes = upright_sizes(headers)
    turned = int(np.isin(headers[:, 2], TURNED).sum())
    if turned:  # shares fit both frames, so boxes don't tell
        reading.notes.append(f"{split}: EXIF turns {turned} pictures: their labels are read on the "
                             "upright picture")  # fmt: skip
    if options.kind and not kinds.get(options.kind).boxes:
        shapes = [_shapes(t, sizes[i]) for i, (_, t) in enumerate(known)]
        labels_of = [label_file(p) if t is not None else None for p, t in known]
        return outline_masks(
            setup.root, split, classes, files, sizes, shapes, labels_of, options, reading
        )
    rows = [(i, row, outline) for i, (_, t) in enumerate(known) if t is not None
            for row, outline in zip(t.rows, t.outlines, strict=True)
            if sizes[i].any()]  # the rest can't be decoded  # fmt: skip
    picture = np.array([i for i, _, _ in rows], np.int64)
    labels = np.array([row[0] for _, row, _ in rows], np.int64)
    shares = np.array([row[1:] for _, row, _ in rows], np.float64).reshape(-1, 4)
    boxes = shares * sizes[picture][:, [1, 0, 1, 0]]
    shown = [outline for _, _, outline in rows]
    boxed = np.array([not outline for outline in shown], bool)
    boxes = _formed(boxes, picture, sizes, boxed, split, reading)
    boxes, keep, warnings = clean_boxes(boxes, picture, sizes, names)
    reading.notes.extend(f"{split}: {line}" for line in warnings)
    settled = picture[keep], Boxes.of(boxes[keep], labels[keep])
    info = DataInfo(
        readable(setup.root.absolute().name), "detect", classes, role_of(split) or split
    )
    if not options.kind or not kinds.get(options.kind).outlined:
        return BoxSource(info, setup.root, files, box_table(*settled, sizes), names)
    outlines = [_in_pixels(outline, sizes[i]) for i, outline in zip(picture, shown, strict=True)]
    return outline_instances(
        replace(info, kind=options.kind), setup.root, files, names, *settled,
        [outlines[k] for k in np.flatnonzero(keep).tolist()], sizes, reading,
    )  # fmt: skip


def _shapes(labels: YoloFile | None, size: NDArray[np.int64]) -> list[Shape]:
    """The objects of a picture in pixels. Args: size: height and width."""
    height, width = size.tolist()
    shapes: list[Shape] = []
    for row, outline in zip(labels.rows, labels.outlines, strict=True) if labels else ():
        x1, y1, x2, y2 = row[1:]
        box = (x1 * width, y1 * height, x2 * width, y2 * height)
        shapes.append(Shape(row[0], _in_pixels(outline, size), box))
    return shapes


def _in_pixels(outline: Sequence[float], size: NDArray[np.int64]) -> tuple[tuple[float, ...], ...]:
    """A polygon of shares as one of pixels; () if it has no points. Args: size: height, width."""
    height, width = size.tolist()
    points = tuple(v * (height if k % 2 else width) for k, v in enumerate(outline))
    return (points,) if points else ()


def _formed(
    boxes: NDArray[np.float64],
    picture: NDArray[np.int64],
    sizes: NDArray[np.int64],
    boxed: NDArray[np.bool_],
    split: str,
    reading: Reading,
) -> NDArray[np.float64]:
    """Corners in pixels, of boxes whose form is not centre and size too.

    Args: boxes: corners, read as centre and size; boxed: those that are not polygons.
    """
    written = from_xyxy(boxes[boxed], "cxcywh")
    form = judge(written, picture[boxed], sizes, "cxcywh")
    if form.warning:
        reading.notes.append(f"{split}: {form.warning}")
    if form.name != "cxcywh":
        boxes[boxed] = form.corners(written, sizes[picture[boxed]])
    return boxes


def _without_picture(
    beside: dict[str, set[str]], pictures: Sequence[Path], root: Path
) -> list[str]:
    """The label files beside those of the split's pictures (folder -> names) that belong to none,
    nor to a picture next to those that another split has or no list names."""
    alone = [
        Path(entry.path)
        for folder, names in sorted(beside.items())
        for entry in listing(Path(folder))
        if entry.name.endswith(".txt") and entry.name not in names
        and entry.name not in NO_LABELS and not is_junk(entry.name)
    ]  # fmt: skip
    if not alone:
        return []
    near = {Path(folder) for folder in {os.fspath(p).rpartition("/")[0] for p in pictures}}
    others = [Path(e.path) for folder in near for e in listing(folder) if is_picture(e.name)]
    labelled = {label_file(picture) for picture in others}
    return [_relative(file, root) for file in alone if file not in labelled]


def _relative(path: Path, root: Path) -> str:
    """The path relative to the root if it is inside, else absolute."""
    whole, top = path.absolute(), root.absolute()
    return str(whole.relative_to(top) if whole.is_relative_to(top) else whole)
