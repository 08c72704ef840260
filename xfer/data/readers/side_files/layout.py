"""Files with what is known about one picture each: VOC's xml, labelme's json; in which folders they
are, to which splits they belong.

Without VOC's own ImageSets, lists named like splits beside them are taken (train.txt, val.txt), if
their lines name such files or their pictures. Ids are the paths of the files below their folder,
without ending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from os import scandir
from pathlib import Path

from xfer.data.images.walk import has_picture, is_dir, is_junk, is_picture, listing, subfolders
from xfer.data.readers.base import Reading
from xfer.data.readers.imagenet.trees import find_tree
from xfer.data.readers.table.locate import split_of_folder
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.files import NotAFile, head_of, lines_of

# how far a folder is searched for such files in folders of any name
DEEP, FOLDERS, ENTRIES, HEAD = 3, 200, 100, 4096


@dataclass(frozen=True)
class Sort:
    """One sort of such files.

    ending | of their names
    known  | whether the first bytes of a file are those of one
    """

    ending: str
    known: Callable[[bytes], bool]


@dataclass(frozen=True)
class Part:
    """One split on disk: the folder of its files, those of its pictures, its ids, and whether these
    are from a list."""

    name: str
    top: Path
    pictures: tuple[Path, ...]
    ids: tuple[str, ...]
    listed: bool = False


def stems(folder: Path, sort: Sort) -> tuple[str, ...]:
    """The ids of all annotation files in a folder and below."""
    own: list[str] = []
    below: list[str] = []
    for entry in listing(folder):
        if is_junk(entry.name):
            continue
        if is_dir(entry):
            below += [f"{entry.name}/{stem}" for stem in stems(Path(entry.path), sort)]
        elif entry.name.endswith(sort.ending):
            own.append(entry.name.removesuffix(sort.ending))
    return (*own, *below)


def listed_parts(
    tops: Sequence[Path], top: Path, sort: Sort, pictures: tuple[Path, ...], reading: Reading
) -> list[Part]:
    """The splits of lists that are named like splits, in the first folder with any; else all
    annotation files as one part. Lists that can't be used are recorded as not used."""
    ids = stems(top, sort)
    by_name: dict[str, str] = {}
    for own in ids:
        for form in (own, own.rpartition("/")[2]):
            by_name[form] = "" if by_name.get(form, own) != own else own
    for folder in tops:
        files = [Path(e.path) for e in listing(folder) if e.name.endswith(".txt")]
        parts: list[Part] = []
        for file in files:
            if not role_of(file.stem):
                continue
            found = [_known(line, by_name, sort) for line in lines_of(file)]
            chosen = tuple(dict.fromkeys(one for one in found if one))
            if found and len(chosen) >= 0.9 * len(set(found)):
                parts.append(Part(file.stem, top, pictures, chosen, True))
            else:
                reading.leave("list", "lists", [file.name])
        if parts:
            used = ", ".join(f"{part.name}.txt" for part in parts)
            reading.notes.append(f"splits by {used}")
            return parts
    return [Part(WHOLE, top, pictures, ids)]


def _known(line: str, by_name: dict[str, str], sort: Sort) -> str:
    """The id that a line of a list names, by its annotation file or its picture; "": none."""
    for cell in (line, *line.split()):
        path = cell.replace("\\", "/").removesuffix(sort.ending)
        path = path.rpartition(".")[0] if is_picture(path) else path
        parts = path.split("/")
        for k in range(len(parts)):
            if own := by_name.get("/".join(parts[k:])):
                return own
    return ""


def loose_folders(path: Path, sort: Sort) -> list[Path]:
    """Folders of any name, the path's own and those below it, that hold annotation files.

    Only the first entries of the first folders are looked at: class folders are left quickly.
    """
    if not path.is_dir() or find_tree(path) is not None:  # ImageNet's boxes are not its labels
        return []
    level, found, seen = [path], list[Path](), 0
    for _ in range(DEEP + 1):
        below: list[Path] = []
        for folder in level:
            seen += 1
            if seen > FOLDERS:
                return found
            inside = _first_entries(folder)
            if any(name.endswith(sort.ending) and _is(folder / name, sort) for name in inside):
                found.append(folder)
            below += subfolders(folder)[:FOLDERS] if any(inside.values()) else []
        level = below
    return found


def _first_entries(folder: Path) -> dict[str, bool]:
    """The names of a folder's first entries -> whether they are folders."""
    try:
        with scandir(folder) as entries:
            return {e.name: is_dir(e) for e in islice(entries, ENTRIES) if not is_junk(e.name)}
    except OSError:
        return {}


def _is(file: Path, sort: Sort) -> bool:
    """Whether a file is of that sort, by its beginning."""
    try:
        return sort.known(head_of(file, HEAD))
    except (OSError, NotAFile):
        return False


def loose_parts(path: Path, sort: Sort, reading: Reading) -> list[Part]:
    """The splits of files in folders of any name, with pictures in others."""
    folders = loose_folders(path, sort)
    by_split: dict[str, list[Path]] = {}
    for folder in folders:
        by_split.setdefault(_split_of(folder, path) or WHOLE, []).append(folder)
    if not by_split:
        return []
    if len(by_split) > 1 and WHOLE in by_split:  # those in no split's folder are for training
        by_split.setdefault("train", []).extend(by_split.pop(WHOLE))
    parts: list[Part] = []
    for split, own in by_split.items():
        top = _common(own)
        pictures = tuple(_picture_tops(path, None if split == WHOLE else split))
        if split == WHOLE:
            parts += listed_parts([top, path], top, sort, pictures, reading)
            continue
        ids = tuple(
            f"{folder.relative_to(top).as_posix()}/{stem}".removeprefix("./")
            for folder in own for stem in stems(folder, sort)
        )  # fmt: skip
        parts.append(Part(split, top, pictures, tuple(dict.fromkeys(ids))))
    return parts


def _split_of(folder: Path, path: Path) -> str | None:
    """The split that a folder belongs to by its name or that of one above it."""
    return next((role for name in folder.relative_to(path).parts
                 if (role := split_of_folder(name))), None)  # fmt: skip


def _common(folders: Sequence[Path]) -> Path:
    """The deepest folder that is, or holds, all of these."""
    first = folders[0]
    return next(top for top in (first, *first.parents)
                if all(f.is_relative_to(top) for f in folders))  # fmt: skip


def _picture_tops(path: Path, split: str | None) -> Iterator[Path]:
    """Folders near the top that hold pictures, those of the split first; none of another split."""
    tops = subfolders(path)[:FOLDERS]
    inside = [f for top in tops for f in subfolders(top)[:FOLDERS]]
    every = [f for f in (*inside, *tops) if _split_of(f, path) in (None, split)]
    of_split = [f for f in every if split and _split_of(f, path) == split]
    # a folder inside one that is searched counts only if it is a split's: ids may begin with it
    rest = [f for f in every if f not in of_split and f in tops]
    for folder in (*of_split, *rest):
        if has_picture(folder):
            yield folder
    yield path
