"""`webdataset`: shards, tars in which the files of one sample share a name up to the first dot.

Of a sample are read: a picture (.jpg, .png, .webp, ...), its class (.cls, a number in text), and
its .json where there is no .cls ("label" or "class", a number). The shards are read in place by an
index. A shard's split is in its name (imagenet1k-validation-00.tar) or in its folder's; what
`_info.json` or `info.json` lists, and what a run of numbers leaves out, must be there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from xfer.data.images.walk import is_junk, is_picture, listing
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.sources.index_file import Entries, kept_index, state_of
from xfer.data.sources.indexed import IndexedSource
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.data.sources.tar_index import Member, members
from xfer.data.sources.wordnet import numbered, same_names, with_wnids
from xfer.errors import DataError
from xfer.types import DataInfo

INFO = ("_info.json", "info.json")
CLASSES = "classes.txt"
_WORD = re.compile(r"[A-Za-z]+")
_NUMBERED = re.compile(r"(.*?)(\d+)(\.tar)")
AGAIN = "fetch it, or read the others as webdataset:FILE.tar one by one"


@FORMATS.register("webdataset")
class WebDataset:
    """Tars of numbered shards, or one tar."""

    kinds: ClassVar[tuple[str, ...]] = ("classify", "images")
    low_priority: ClassVar[bool] = True
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        shards = find_shards(path)
        if not shards:
            return None
        try:  # the first members tell; a shard that is damaged is named when it is read
            names = [m.name for m, _ in zip(members(shards[0]), range(8), strict=False)]
        except DataError:
            names = []
        keyed = any(is_picture(name) for name in names)
        return f"{len(shards)} tars of pictures" if keyed or not names else None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        root = path if path.is_dir() else path.parent
        shards = find_shards(path)
        if not shards:
            raise DataError(f"{path}: no .tar in it", "shards lie there or in train/ and val/")
        if path.is_dir():
            _check_all_there(root, shards)
        splits: dict[str, list[Path]] = {}
        for shard in shards:
            splits.setdefault(_split_of(root, shard), []).append(shard)
        parts: dict[str, IndexedSource] = {}
        notes: list[str] = []
        for split, files in splits.items():
            part, said = _read(root, split, files)
            parts[split], notes = part, notes + said
        same_names(parts)
        return Reading({**parts}, notes)


def find_shards(path: Path) -> list[Path]:
    """The tars of a folder and of the folders of its splits, or the one that the path is."""
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    folders = [path, *(Path(e.path) for e in listing(path) if role_of(e.name) and e.is_dir())]
    entries = (e for folder in folders for e in listing(folder))
    return [Path(e.path) for e in entries if e.name.endswith(".tar") and not is_junk(e.name)]


def _split_of(root: Path, shard: Path) -> str:
    """The split that a shard belongs to: its folder's, or the one word of its name that is one."""
    if shard.parent != root:
        return shard.parent.name
    return next((w for w in _WORD.findall(shard.stem) if role_of(w)), WHOLE)


def _check_all_there(root: Path, shards: list[Path]) -> None:
    """Raises DataError naming the shards that are listed, or left out by their numbers."""
    there = {str(s.relative_to(root)) for s in shards}
    for name in INFO:
        if (root / name).is_file():
            listed = _listed(root / name)
            missing = sorted(listed - there - {Path(t).name for t in there})
            if missing:
                raise _missing(root, missing, f"of those in {name}")
    runs: dict[tuple[str, str], dict[int, str]] = {}
    for name in there:
        found = _NUMBERED.fullmatch(name)
        if found:
            runs.setdefault((found[1], found[3]), {})[int(found[2])] = found[2]
    for (head, tail), numbers in runs.items():
        width = max(map(len, numbers.values()))
        # from 0, or from 1 as some number them: nothing but a list tells whether a first is gone
        absent = [n for n in range(min(1, *numbers), max(numbers)) if n not in numbers]
        if absent:
            missing = [f"{head}{n:0{width}d}{tail}" for n in absent]
            raise _missing(root, missing, f"before {head}{numbers[max(numbers)]}{tail}")


def _listed(file: Path) -> set[str]:
    try:
        splits = json.loads(file.read_text(encoding="utf-8")).get("splits", {})
        return {str(n) for split in splits.values() for n in split.get("filenames", [])}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{file}: damaged ({error})") from None


def _missing(root: Path, names: list[str], where: str) -> DataError:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return DataError(f"{root}: shard {names[0]}{more} missing, {where}", AGAIN)


def _read(root: Path, split: str, shards: list[Path]) -> tuple[IndexedSource, list[str]]:
    table = root / CLASSES
    names: list[str] = []
    if table.is_file():
        try:
            lines = table.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"{table}: can't be read ({error})") from None
        names = [line.strip() for line in lines if line.strip()]
    states = ["webdataset", split, str(root.absolute()), *map(state_of, shards), *names]
    index = kept_index(states, lambda: _entries(root, shards, names))
    kind = "classify" if index.classes else "images"
    info = DataInfo(root.name, kind, index.classes, role_of(split) or split)
    return IndexedSource(info, root, index), list(index.notes)


def _entries(root: Path, shards: list[Path], names: list[str]) -> Entries:
    made = Entries(files=[shard.relative_to(root).as_posix() for shard in shards])
    without = 0
    for number, shard in enumerate(shards):
        try:
            with shard.open("rb") as file:
                without += _add(made, number, shard, file.fileno())
        except OSError as error:
            raise DataError(f"{shard}: {error.strerror or error}") from None
    if not made.ids:
        raise DataError(f"{root}: no pictures in the shards")
    if without:
        made.notes.append(f"{without} samples without a picture are left out")
    most = max(made.labels)
    if names and most >= len(names):
        worst = made.ids[made.labels.index(most)]
        raise DataError(
            f"{root}: {worst}: label {most} is out of range", f"{CLASSES} has {len(names)} lines"
        )
    made.classes = names or with_wnids(numbered(made.labels, made.ids, root), made.labels, made.ids)
    return made


def _add(made: Entries, number: int, shard: Path, handle: int) -> int:
    """Adds the samples of a shard; how many have no picture."""
    without = 0
    for key, files in _samples(members(shard)):
        picture = next((m for end, m in files.items() if is_picture(f"x.{end}")), None)
        if picture is None:
            without += 1
            continue
        label = _label(shard, key, files, handle)
        made.add(f"{shard.stem}/{key}", label, number, picture.start, picture.length)
    return without


def _samples(found: Iterable[Member]) -> Iterable[tuple[str, dict[str, Member]]]:
    """(key, ending -> member) of each run of members that share the name up to its first dot."""
    last, files = "", dict[str, Member]()
    for member in found:
        folder, _, name = member.name.rpartition("/")
        if is_junk(name):
            continue
        stem, _, ending = name.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if key != last and files:
            yield last, files
            files = {}
        last = key
        files[ending.lower()] = member
    if files:
        yield last, files


def _label(shard: Path, key: str, files: dict[str, Member], handle: int) -> int:
    """A sample's class, -1 where it has none. Raises DataError for one that is no number."""
    own = files.get("cls")
    if own is not None:
        text = os.pread(handle, own.length, own.start).decode("ascii", "replace").strip()
        if not text.isdigit():
            raise DataError(f"{shard}: {key}.cls: label {text[:20]!r} is no number from 0 on")
        return int(text)
    about = files.get("json")
    if about is None:
        return -1
    try:
        found = json.loads(os.pread(handle, about.length, about.start))
    except ValueError as error:
        raise DataError(f"{shard}: {key}.json: damaged ({error})") from None
    if not isinstance(found, dict):
        return -1
    value = next((found[k] for k in ("label", "class", "cls") if k in found), None)
    if value is None:
        return -1
    if type(value) is not int or value < 0:
        raise DataError(f"{shard}: {key}.json: label {value!r} is no number from 0 on")
    return value
