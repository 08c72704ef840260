"""`webdataset`: shards, tars in which the files of one sample share a name up to the first dot.

A sample has a picture (.jpg, .png, .webp, ...) and a class: .cls, a number as text, or without that
.json ("label" or "class", a number). The shards are read in place through an index. A shard's split
is in its name (imagenet1k-validation-00.tar) or its folder's name; all shards that `_info.json` or
`info.json` lists, and all numbers in a sequence, must be there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from xfer.data.images.walk import is_junk, is_picture, listing
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.sources.index_file import Entries, kept_index, state_of
from xfer.data.sources.indexed import IndexedSource
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.data.sources.tar_index import Member, members
from xfer.data.sources.wordnet import numbered, same_names, with_wnids
from xfer.data.sources.written import whole_number
from xfer.errors import DataError, listed, reader
from xfer.files import NOTE, open_file, text_of
from xfer.kinds.findings import counted
from xfer.types import DataInfo

INFO = ("_info.json", "info.json")
CLASSES = "classes.txt"
_WORD = re.compile(r"[A-Za-z]+")
_NUMBERED = re.compile(r"(.*?)(\d+)(\.tar)")
AGAIN = "download it, or read the others as webdataset:FILE.tar one by one"


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
        try:  # the first members are enough; a damaged shard is reported when it is read
            names = [m.name for m, _ in zip(members(shards[0]), range(8), strict=False)]
        except DataError:
            names = []
        keyed = any(is_picture(name) for name in names)
        return f"{counted(len(shards), 'tar')} of pictures" if keyed or not names else None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        root = path if path.is_dir() else path.parent
        shards = find_shards(path)
        if not shards:
            raise DataError(
                f"{path}: no .tar in it", "put the shards there or into train/ and val/"
            )
        if path.is_dir():
            _check_all_there(root, shards)
        splits: dict[str, list[Path]] = {}
        for shard in shards:
            splits.setdefault(_split_of(root, shard), []).append(shard)
        parts: dict[str, IndexedSource] = {}
        notes: list[str] = []
        for split, files in splits.items():
            part, lines = _read(root, split, files, options.verify)
            parts[split], notes = part, notes + lines
        same_names(parts)
        return Reading({**parts}, notes)


def find_shards(path: Path) -> list[Path]:
    """The tars of a folder and of its split folders, or the path itself if it is one."""
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    folders = [path, *(Path(e.path) for e in listing(path) if role_of(e.name) and e.is_dir())]
    entries = (e for folder in folders for e in listing(folder))
    return [Path(e.path) for e in entries if e.name.endswith(".tar") and not is_junk(e.name)]


def _split_of(root: Path, shard: Path) -> str:
    """The split of a shard: its folder, or the word in its name that names a split."""
    if shard.parent != root:
        return shard.parent.name
    return next((w for w in _WORD.findall(shard.stem) if role_of(w)), WHOLE)


def _check_all_there(root: Path, shards: list[Path]) -> None:
    """Raises DataError naming shards that are listed, or missing in a sequence of numbers."""
    there = {str(s.relative_to(root)) for s in shards}
    for name in INFO:
        if (root / name).is_file():
            listed = _listed(root / name)
            missing = sorted(listed - there - {Path(t).name for t in there})
            if missing:
                raise _missing(root, missing, f"listed in {name}")
    runs: dict[tuple[str, str], dict[int, str]] = {}
    for name in there:
        match = _NUMBERED.fullmatch(name)
        if match:
            runs.setdefault((match[1], match[3]), {})[int(match[2])] = match[2]
    for (head, tail), numbers in runs.items():
        width = max(map(len, numbers.values()))
        # numbered from 0 or 1: only a list could show that the first shards are missing
        absent = [n for n in range(min(1, *numbers), max(numbers)) if n not in numbers]
        if absent:
            missing = [f"{head}{n:0{width}d}{tail}" for n in absent]
            raise _missing(root, missing, f"before {head}{numbers[max(numbers)]}{tail}")


@reader
def _listed(file: Path) -> set[str]:
    try:
        splits = json.loads(text_of(file)).get("splits", {})
        return {str(n) for split in splits.values() for n in split.get("filenames", [])}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{file}: damaged ({error})") from None


def _missing(root: Path, names: list[str], where: str) -> DataError:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return DataError(f"{root}: shard {names[0]}{more} missing, {where}", AGAIN)


def _read(
    root: Path, split: str, shards: list[Path], verify: bool
) -> tuple[IndexedSource, list[str]]:
    table = root / CLASSES
    names: list[str] = []
    if table.is_file():
        try:
            lines = text_of(table, NOTE).splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"{table}: can't be read ({error})") from None
        names = [line.strip() for line in lines if line.strip()]
    states = ["webdataset", split, str(root.absolute()), *map(state_of, shards), *names]
    index = kept_index(states, lambda: _entries(root, shards, names), verify)
    kind = "classify" if index.classes else "images"
    info = DataInfo(root.name, kind, index.classes, role_of(split) or split)
    return IndexedSource(info, root, index), list(index.notes)


def _entries(root: Path, shards: list[Path], names: list[str]) -> Entries:
    entries = Entries(files=[shard.relative_to(root).as_posix() for shard in shards])
    without = 0
    unread: set[str] = set()
    for number, shard in enumerate(shards):
        try:
            with open_file(shard) as file:
                without += _add(entries, number, shard, file.fileno(), unread)
        except OSError as error:
            raise DataError(f"{shard}: {error.strerror or error}") from None
    if not entries.ids:
        raise DataError(f"{root}: no pictures in the shards")
    if without:
        entries.notes.append(f"{without} samples without a picture are left out")
    largest = max(entries.labels)
    if unread and largest < 0:
        others = listed([f".{end}" for end in sorted(unread)], 5)
        where = "a class is a number in .cls, or `label` in .json"
        entries.notes.append(f"no labels: {where}; not read: {others}")
    if names and largest >= len(names):
        worst = entries.ids[entries.labels.index(largest)]
        raise DataError(
            f"{root}: {worst}: label {largest} is out of range", f"{CLASSES} has {len(names)} lines"
        )
    entries.classes = names or with_wnids(
        numbered(entries.labels, entries.ids, root), entries.labels, entries.ids
    )
    return entries


def _add(entries: Entries, number: int, shard: Path, handle: int, unread: set[str]) -> int:
    """Add the samples of a shard; returns how many have no picture.

    Args: unread: the endings of what else is in samples without a label are added to it.
    """
    without = 0
    for key, files in _samples(members(shard)):
        picture = next((m for end, m in files.items() if is_picture(f"x.{end}")), None)
        if picture is None:
            without += 1
            continue
        label = _label(shard, key, files, handle)
        if label < 0:
            unread.update(end for end in files if not is_picture(f"x.{end}"))
        entries.add(f"{shard.stem}/{key}", label, number, picture.start, picture.length)
    return without


def _samples(files_in_tar: Iterable[Member]) -> Iterable[tuple[str, dict[str, Member]]]:
    """(key, ending -> member) of each run of members that share the name up to its first dot."""
    last, files = "", dict[str, Member]()
    for member in files_in_tar:
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


def _content(shard: Path, handle: int, member: Member) -> bytes:
    if member.length > NOTE:
        raise DataError(f"{shard}: {member.name}: {member.length:,} bytes, far more than a label")
    return os.pread(handle, member.length, member.start)


def _label(shard: Path, key: str, files: dict[str, Member], handle: int) -> int:
    """A sample's class, -1 if it has none. Raises DataError if it is not a number."""
    content = {
        end: _content(shard, handle, files[end])
        for end in (("cls",) if "cls" in files else ("json",))
        if end in files
    }
    return label_of(shard, key, content)


def label_of(shard: Path | str, key: str, content: Mapping[str, bytes]) -> int:
    """The class that a sample's .cls or .json says, -1 if neither does.

    Args: content: of these, by ending.

    Raises: DataError if it is not a number.
    """
    if "cls" in content:
        text = content["cls"].decode("ascii", "replace").strip()
        label = whole_number(text)
        if label is None:
            raise DataError(f"{shard}: {key}.cls: label {text[:20]!r} is not a whole number from 0")
        return label
    if "json" not in content:
        return -1
    try:
        about = json.loads(content["json"])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shard}: {key}.json: damaged ({error})") from None
    if not isinstance(about, dict):
        return -1
    value = next((about[k] for k in ("label", "class", "cls") if k in about), None)
    if value is None:
        return -1
    if type(value) is not int or value < 0:
        raise DataError(f"{shard}: {key}.json: label {value!r} is not a whole number from 0")
    return value
