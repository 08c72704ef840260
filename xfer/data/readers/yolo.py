"""`yolo`: a data.yaml (path, train, val, test, names) and a txt for every picture.

The labels of images/a/x.jpg are in labels/a/x.txt (the last `images` in the path is replaced), or
next to the picture. A split is a folder, a list of folders, or a txt with a path per line. Paths
are relative to `path` or to the yaml's folder, and are also tried without leading ../, for
Roboflow's exports. A missing test split is left out, since Roboflow may name one that does not
exist; a split without any label file has only pictures. Without a yaml: images/, labels/ and
classes.txt (perhaps in labels/), with or without split folders in both; or classes.txt and a txt
next to each picture, as written by labelImg and Label Studio; or the same from Roboflow, with
_darknet.labels in each split's folder.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from xfer.boxes import Boxes
from xfer.data.images.size import sizes_of
from xfer.data.images.threads import cores
from xfer.data.images.walk import find_pictures, is_junk, is_picture, listing, readable, subfolders
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.yolo_labels import YoloFile, read_yolo_text
from xfer.data.sources.box_rules import clean_boxes, leave_out
from xfer.data.sources.boxes import BoxSource, box_table
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import WHOLE, role_of, split_folders
from xfer.errors import DataError
from xfer.types import DataInfo, Source

MAX_BYTES = 2**20
SPLITS = ("train", "val", "valid", "test")
DARKNET = "_darknet.labels"


@dataclass(frozen=True)
class Setup:
    """The content of a data.yaml: its folder, the class names, the places of each split, lines for
    people, and how many keypoint numbers follow each box."""

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, list[Path]]
    notes: tuple[str, ...] = ()
    keypoints: int = 0


@FORMATS.register("yolo")
class Yolo:
    """YOLO's txt files with a data.yaml."""

    kinds: ClassVar[tuple[str, ...]] = ("detect",)
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        file = _yaml(path)
        if file is not None:
            return f"YOLO, {file.name}"
        if _darknet(path):
            return f"YOLO, {DARKNET}"
        plain = _plain(path)
        return None if plain is None else f"YOLO, {plain[0].relative_to(path)} and {plain[2]}"

    def load(self, path: Path, options: ReadOptions) -> Reading:
        file = _yaml(path)
        if file is not None:
            setup = read_setup(file)
        elif tables := _darknet(path):
            classes = _distinct(tables[0], _lines(tables[0]))
            setup = Setup(path, classes, {t.parent.name: [t.parent] for t in tables})
        elif (plain := _plain(path)) is not None:
            classes = _distinct(plain[0], _lines(plain[0]))
            splits = split_folders(plain[1], options.named, subfolders(plain[1]))
            setup = Setup(path, classes, {s.name: [s] for s in splits} or {WHOLE: [plain[1]]})
        else:
            raise DataError(
                f"{path}: no data.yaml in it",
                "write one with train: images/train, val: images/val and names: [cat, dog]",
            )
        reading = Reading({}, list(setup.notes))
        for split, places in setup.splits.items():
            reading.parts[split] = _source(setup, split, places, options, reading)
        if not reading.labelled:
            raise DataError(f"{path}: no label files in labels/ next to images/")
        return reading


def _darknet(path: Path) -> list[Path]:
    """The files of class names in Roboflow's split folders."""
    files = [f / DARKNET for f in subfolders(path) if role_of(f.name)]
    return [file for file in files if file.is_file()]


def _plain(path: Path) -> tuple[Path, Path, str] | None:
    """For a folder without a yaml: the file of class names, the folder of the pictures, and in
    words where the labels are."""
    tables = [path / "classes.txt", path / "labels" / "classes.txt"]
    table = next((file for file in tables if file.is_file()), None)
    if table is not None and (path / "images").is_dir() and (path / "labels").is_dir():
        return table, path / "images", "labels/"
    names = {e.name for e in listing(path) if not is_junk(e.name)} if table == tables[0] else set()
    if any(is_picture(name) and f"{Path(name).stem}.txt" in names for name in names):
        return tables[0], path, "a txt next to each picture"
    return None


def _lines(file: Path) -> list[str]:
    """The lines of a text file that are not blank."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def _yaml(path: Path) -> Path | None:
    """The yaml of a path: the path itself, data.yaml, or the only fitting one in a folder."""
    if path.is_file():
        return path if path.suffix in (".yaml", ".yml") else None
    files = [Path(e.path) for e in listing(path) if not is_junk(e.name)]
    files = [f for f in files if f.suffix in (".yaml", ".yml") and f.is_file()]
    named = [f for f in files if f.stem in ("data", "dataset")]
    for file in named or files:
        try:
            content = _read(file)
        except DataError:
            if file in named:
                return file  # reading it says what is wrong
            continue
        keys = content.keys() if isinstance(content, dict) else set[str]()
        if {"names", "nc"} & keys and keys & {*SPLITS}:
            return file
    return None


def _read(file: Path) -> Any:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DataError(f"{file}: more than {MAX_BYTES >> 20} MB: not a YOLO data.yaml")
        return yaml.safe_load(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: not valid YAML: {line}") from None


def read_setup(file: Path) -> Setup:
    """Read a data.yaml. Raises DataError if it lacks names or splits, or if its folders are
    missing."""
    content = _read(file)
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds a {type(content).__name__}, not keys and values")
    classes = _classes(file, content.get("names"))
    root = content.get("path")
    bases = [file.parent / root] if isinstance(root, str) and root else []
    bases = list(dict.fromkeys([*bases, file.parent]))
    splits: dict[str, list[Path]] = {}
    notes: list[str] = []
    for split in SPLITS:
        value = content.get(split)
        if not value:
            continue
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"{file}: {split} is neither a path nor a list of paths")
        try:
            splits[split] = [_place(file, split, text, bases) for text in texts]
        except DataError as error:
            if split != "test":
                raise
            notes.append(f"{error.message}: left out")
    if not splits:
        raise DataError(f"{file}: none of {', '.join(SPLITS)} in it")
    shape = content.get("kpt_shape") or [0, 0]
    if not isinstance(shape, list) or len(shape) != 2 or any(type(n) is not int for n in shape):
        raise DataError(f"{file}: kpt_shape is not a list of two numbers", "kpt_shape: [17, 3]")
    return Setup(file.parent, classes, splits, tuple(notes), shape[0] * shape[1])


def _classes(file: Path, names: Any) -> tuple[str, ...]:
    """Names by index, from a list or from {0: name, 1: name}."""
    if isinstance(names, dict):
        named = {str(k): name for k, name in names.items() if not isinstance(k, bool)}
        if named.keys() != set(map(str, range(len(names)))):
            raise DataError(f"{file}: the keys of names are not 0 .. {len(names) - 1}")
        names = [named[str(k)] for k in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{file}: no class names in it", "names: [cat, dog]")
    # nested lists of aliases can expand to more text than fits into memory
    odd = next((i for i, n in enumerate(names) if not isinstance(n, (str, int, float))), None)
    if odd is not None:
        raise DataError(
            f"{file}: class name {odd} is a {type(names[odd]).__name__}", "names: [cat, dog]"
        )
    return _distinct(file, [str(name) for name in names])


def _distinct(where: Path, names: list[str]) -> tuple[str, ...]:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"{where}: several classes are called {', '.join(twice)}")
    return tuple(names)


def _place(file: Path, split: str, text: str, bases: list[Path]) -> Path:
    """The folder or list that a split's text names."""
    text = text.replace("\\", "/")
    bare = text
    while bare.startswith("../"):
        bare = bare.removeprefix("../")
    for candidate in (text, bare):
        for base in bases:
            place = base / candidate
            if place.exists():
                return place
    looked = ", ".join(str(base / text) for base in bases)
    raise DataError(f"{file}: {split} is not there", f"looked for {looked}")


def _pictures(place: Path) -> list[Path]:
    if place.is_dir():
        return find_pictures(place)
    return [place.parent / line for line in _lines(place)]


def label_file(picture: Path) -> Path:
    """The label file of a picture: the last `images` in its path is replaced by `labels`; next to
    the picture if there is no such file."""
    parts = list(picture.with_suffix(".txt").parts)
    for k in range(len(parts) - 2, -1, -1):
        if parts[k] == "images":
            parts[k] = "labels"
            break
    there = Path(*parts)
    return there if there.is_file() else picture.with_suffix(".txt")


def _source(
    setup: Setup, split: str, places: list[Path], options: ReadOptions, reading: Reading
) -> Source:
    """The source of one split; adds notes to `reading`."""
    pictures = list(dict.fromkeys(p for place in places for p in _pictures(place)))
    gone = [(str(p), "no such picture") for p in pictures if not p.is_file()]
    leave_out(split, "pictures are not there", gone, options.skip_bad, reading.skipped)
    pictures = [p for p in pictures if p.is_file()]
    if not pictures:
        raise DataError(f"{', '.join(map(str, places))}: no pictures of {split} in it")

    def look(picture: Path) -> YoloFile | str | None:
        file = label_file(picture)
        try:
            if not file.is_file():
                return None
            return read_yolo_text(file, len(setup.classes), setup.keypoints)
        except DataError as error:
            return error.message

    with ThreadPoolExecutor(cores()) as pool:
        read = list(pool.map(look, pictures))
    bad = [(_relative(label_file(p), setup.root), t)
           for p, t in zip(pictures, read, strict=True) if isinstance(t, str)]  # fmt: skip
    leave_out(split, "label files can't be used", bad, options.skip_bad, reading.skipped)
    known = [(p, t) for p, t in zip(pictures, read, strict=True) if not isinstance(t, str)]
    without = sum(t is None for _, t in known)
    if without == len(known):
        if bad:
            raise DataError(f"{split}: none of its {len(bad)} label files can be used")
        info = DataInfo(readable(setup.root.absolute().name), "images", (), role_of(split) or split)
        files = [_relative(p, setup.root) for p, _ in known]
        return FileSource(info, setup.root, files, np.full(len(files), -1, np.int64))
    if without:
        reading.notes.append(f"{split}: {without} pictures without a label file are background")
    repeated = sum(t.repeated for _, t in known if t is not None)
    if repeated:
        reading.notes.append(f"warning: {split}: {repeated} repeated lines are read once")
    files = [_relative(p, setup.root) for p, _ in known]
    names = [readable(Path(f).as_posix()) for f in files]
    sizes = sizes_of([p for p, _ in known])
    rows = [(i, row) for i, (_, t) in enumerate(known) if t is not None for row in t.rows]
    rows = [(i, row) for i, row in rows if sizes[i].any()]  # the rest can't be decoded
    picture = np.array([i for i, _ in rows], np.int64)
    labels = np.array([row[0] for _, row in rows], np.int64)
    shares = np.array([row[1:] for _, row in rows], np.float64).reshape(-1, 4)
    boxes = shares * sizes[picture][:, [1, 0, 1, 0]]
    boxes, keep, warnings = clean_boxes(boxes, picture, sizes, names)
    reading.notes.extend(f"{split}: {line}" for line in warnings)
    table = box_table(picture[keep], Boxes.of(boxes[keep], labels[keep]), sizes)
    info = DataInfo(
        readable(setup.root.absolute().name), "detect", setup.classes, role_of(split) or split
    )
    return BoxSource(info, setup.root, files, table, names)


def _relative(path: Path, root: Path) -> str:
    """The path relative to the root if it is inside, else absolute."""
    whole, top = path.absolute(), root.absolute()
    return str(whole.relative_to(top) if whole.is_relative_to(top) else whole)
