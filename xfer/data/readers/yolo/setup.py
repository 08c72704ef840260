"""What a YOLO set consists of: its splits' places and class names, from data.yaml.

Paths are relative to `path` or to the yaml's folder. One that is not there is looked for by its
end: ../train/images, ClassAction-1/train/images and /content/set/train/images may all be
train/images beside the yaml.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xfer.data.images.walk import is_junk, listing
from xfer.data.readers.table.locate import split_of_folder
from xfer.errors import DataError, reader
from xfer.files import bytes_of, is_dir, is_file

MAX_BYTES = 2**20
MAX_DEPTH = 50
SPLITS = ("train", "val", "valid", "test")


@dataclass(frozen=True)
class Split:
    """One split: folders or lists of pictures, and the names of its classes by number."""

    places: list[Path]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Setup:
    """A set: its folder, its splits, lines for people, and how many keypoint numbers follow each
    box."""

    root: Path
    splits: dict[str, Split]
    notes: tuple[str, ...] = ()
    keypoints: int = 0


def find_yaml(path: Path) -> Path | None:
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


@reader
def _read(file: Path) -> Any:
    try:
        return yaml.safe_load(_shallow(bytes_of(file, MAX_BYTES)))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: not valid YAML: {line}") from None


def _shallow(content: bytes) -> bytes:
    """The content itself. Raises ValueError for lists in lists in lists, for which PyYAML takes a
    time that grows with the square of their depth."""
    depth = 0
    for bracket in re.findall(rb"[\[\]{}]", content):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
    return content


@reader
def read_setup(file: Path) -> Setup:
    """Read a data.yaml. Raises DataError if it lacks names or splits, or if its folders are
    missing."""
    content = _read(file)
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds a {type(content).__name__}, not keys and values")
    classes = _classes(file, content.get("names"))
    root = content.get("path")
    bases = [file.parent / root] if isinstance(root, str) and root else []
    beside = file.parent / str(root).replace("\\", "/").rstrip("/").rpartition("/")[2]
    if bases and not is_dir(bases[0]) and beside != file.parent and is_dir(beside):
        bases.insert(1, beside)  # ../datasets/pets of another machine is pets/ here
    bases = list(dict.fromkeys([*bases, file.parent]))
    written: dict[str, list[str]] = {}
    for split in SPLITS:
        value = content.get(split)
        texts = value if isinstance(value, list) else [value] if value else []
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"{file}: {split} is neither a path nor a list of paths")
        if texts:
            written[split] = texts
    if not written:
        raise DataError(f"{file}: none of {', '.join(SPLITS)} in it")
    places, notes = find_places(file, written, bases)
    if beside in bases[1:] and any(beside in p.parents for own in places.values() for p in own):
        notes.append(f"{file.name}: path: {root} is read as {beside.name}/")
    shape = content.get("kpt_shape") or [0, 0]
    if not isinstance(shape, list) or len(shape) != 2 or any(type(n) is not int for n in shape):
        raise DataError(f"{file}: kpt_shape is not a list of two numbers", "kpt_shape: [17, 3]")
    count = content.get("nc")
    if isinstance(count, int) and count != len(classes):
        notes.append(f"warning: {file.name}: nc is {count}, but names has {len(classes)}")
    splits = {split: Split(own, classes) for split, own in places.items()}
    return Setup(file.parent, splits, tuple(notes), shape[0] * shape[1])


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
    return distinct(file, [str(name) for name in names])


def distinct(where: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The names of a table. Raises DataError if a name occurs twice."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"{where}: several classes are called {', '.join(twice)}")
    return tuple(names)


def find_places(
    file: Path, written: dict[str, list[str]], bases: Sequence[Path]
) -> tuple[dict[str, list[Path]], list[str]]:
    """The folders or lists that the splits of a file name, and lines for people.

    Raises: DataError for one that is not there, except for test, which Roboflow may name in vain;
        and if two splits that are written differently would mean the same place by their ends.
    """
    places: dict[str, list[Path]] = {}
    notes: list[str] = []
    by_end: dict[Path, tuple[str, str]] = {}
    for split, texts in written.items():
        found: list[Path] = []
        try:
            for text in texts:
                place, dropped = _place(file, split, text, bases)
                found.append(place)
                first, other = by_end.setdefault(place, (split, text))
                if dropped and other != text:
                    raise DataError(
                        f"{file}: {split} is not there",
                        f"{place} has the end of {text}, but also that of {other} ({first})",
                    )
                if dropped.strip("./"):
                    notes.append(f"{file.name}: {split}: {text} is read as {place}")
        except DataError as error:
            if split != "test":
                raise
            notes.append(f"{error.message}: left out")
            continue
        places[split] = found
    return places, notes


def _place(file: Path, split: str, text: str, bases: Sequence[Path]) -> tuple[Path, str]:
    """The folder or list that a split's text names, and the beginning that was dropped from it."""
    slashes = text.replace("\\", "/")
    parts = slashes.split("/")
    for k in range(len(parts)):
        end = "/".join(parts[k:])
        if k and split_of_folder(parts[k - 1]):
            break  # test/images is not images
        for base in bases if end else ():
            place = base / end
            if is_file(place) or is_dir(place):
                return place, slashes.removesuffix(end)
    looked = ", ".join(str(base / slashes) for base in bases)
    raise DataError(f"{file}: {split} is not there", f"looked for {looked}")
