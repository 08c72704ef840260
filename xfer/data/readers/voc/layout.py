"""Where the annotation files, pictures and lists of a VOC set lie.

A split is a file of ImageSets/Main with an id per line; without ImageSets, lists named like splits
beside the annotations are taken (train.txt, val.txt), if their lines name annotation files. Ids are
the paths of the annotation files below their folder, without ending.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from os import scandir
from pathlib import Path

from xfer.data.images.walk import has_picture, is_dir, is_junk, is_picture, listing, subfolders
from xfer.data.readers.base import Reading
from xfer.data.readers.imagenet.trees import find_tree
from xfer.data.readers.table.locate import split_of_folder
from xfer.data.readers.voc.masks import has_masks
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.errors import DataError

ANNOTATIONS = ("Annotations", "annotations")
PICTURES = ("JPEGImages", "images", "Images", "")
# how far a folder is searched for annotation files in folders of any name
DEEP, FOLDERS, ENTRIES, HEAD = 3, 200, 100, 4096


@dataclass(frozen=True)
class Part:
    """One split on disk: the folders of its files, its ids, and whether a list gives them."""

    name: str
    xmls: Path
    pictures: tuple[Path, ...]
    ids: tuple[str, ...]
    listed: bool = False


def trees(path: Path, deep: int = 3) -> Iterator[Path]:
    """Folders with Annotations/*.xml or masks: the path itself, else VOCdevkit/VOC2007 below it."""
    if xml_folder(path) is not None or has_masks(path):
        yield path
    elif deep:
        for folder in subfolders(path):
            if folder.name.startswith("VOC") or folder.name == "TrainVal":
                yield from trees(folder, deep - 1)


def xml_folder(tree: Path) -> Path | None:
    """The folder of a tree's annotation files; in a tree with VOC's other folders they may be in
    folders below it (CVAT)."""
    for name in ANNOTATIONS:
        top = tree / name
        if _has_xml(top):
            return top
        own = (tree / "ImageSets").is_dir() or (tree / "JPEGImages").is_dir()
        if own and any(map(_has_xml, subfolders(top)[:ENTRIES])):
            return top
    return None


def _has_xml(folder: Path) -> bool:
    return any(e.name.endswith(".xml") and not is_junk(e.name) for e in listing(folder))


def stems(folder: Path) -> tuple[str, ...]:
    """The ids of all annotation files in a folder and below."""
    own: list[str] = []
    below: list[str] = []
    for entry in listing(folder):
        if is_junk(entry.name):
            continue
        if is_dir(entry):
            below += [f"{entry.name}/{stem}" for stem in stems(Path(entry.path))]
        elif entry.name.endswith(".xml"):
            own.append(entry.name[:-4])
    return (*own, *below)


def tree_parts(root: Path, reading: Reading) -> list[Part]:
    """The splits of a tree with Annotations: those of its lists, or everything as one."""
    xmls = xml_folder(root) or root / ANNOTATIONS[0]
    pictures = tuple(root / name for name in PICTURES)
    parts: list[Part] = []
    for entry in listing(root / "ImageSets" / "Main"):
        if is_junk(entry.name) or not entry.name.endswith(".txt"):
            continue
        lines = _lines(Path(entry.path))
        ids = [_id(line, xmls) for line in lines]
        if ids and not _of_class(ids):
            name = WHOLE if entry.name == "default.txt" else entry.name.removesuffix(".txt")
            parts.append(Part(name, xmls, pictures, tuple(dict.fromkeys(ids)), True))
    return parts or listed_parts([root / "ImageSets", root], xmls, pictures, reading)


def listed_parts(
    tops: Sequence[Path], xmls: Path, pictures: tuple[Path, ...], reading: Reading
) -> list[Part]:
    """The splits of lists that are named like splits, in the first folder with any; else all
    annotation files as one part. Lists that can't be used are recorded as not used."""
    ids = stems(xmls)
    by_name: dict[str, str] = {}
    for own in ids:
        for form in (own, own.rpartition("/")[2]):
            by_name[form] = "" if by_name.get(form, own) != own else own
    for top in tops:
        files = [Path(e.path) for e in listing(top) if e.name.endswith(".txt")]
        parts: list[Part] = []
        for file in files:
            if not role_of(file.stem):
                continue
            found = [_known(line, by_name) for line in _lines(file)]
            chosen = tuple(dict.fromkeys(one for one in found if one))
            if found and len(chosen) >= 0.9 * len(set(found)):
                parts.append(Part(file.stem, xmls, pictures, chosen, True))
            else:
                reading.leave("list", "lists", [file.name])
        if parts:
            used = ", ".join(f"{part.name}.txt" for part in parts)
            reading.notes.append(f"splits by {used}")
            return parts
    return [Part(WHOLE, xmls, pictures, ids)]


def _known(line: str, by_name: dict[str, str]) -> str:
    """The id that a line of a list names, by its annotation file or its picture; "": none."""
    for cell in (line, *line.split()):
        path = cell.replace("\\", "/").removesuffix(".xml")
        path = path.rpartition(".")[0] if is_picture(path) else path
        parts = path.split("/")
        for k in range(len(parts)):
            if own := by_name.get("/".join(parts[k:])):
                return own
    return ""


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def _id(listed: str, xmls: Path) -> str:
    """The id of an annotation file; some lists name the pictures instead."""
    if not is_picture(listed) or (xmls / f"{listed}.xml").is_file():
        return listed
    stem = listed.rpartition(".")[0]
    return stem if (xmls / f"{stem}.xml").is_file() else listed


def _of_class(lines: list[str]) -> bool:
    """Whether a list is for one class: an id and 1, -1 or 0 on each line."""
    return all(line.rpartition(" ")[2] in ("1", "-1", "0") and " " in line for line in lines)


def flat_parts(path: Path) -> list[Part]:
    """Splits, or one folder, with XML files next to the pictures."""
    tops = [f for f in subfolders(path) if role_of(f.name) and _has_xml(f)]
    if tops:
        return [Part(top.name, top, (top,), stems(top)) for top in tops]
    return [Part(WHOLE, path, (path,), stems(path))] if _has_xml(path) else []


def loose_folders(path: Path) -> list[Path]:
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
            if any(name.endswith(".xml") and _is_annotation(folder / name) for name in inside):
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


def _is_annotation(file: Path) -> bool:
    """Whether an XML file is an annotation with boxes, or without objects."""
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD)
    except OSError:
        return False
    return b"<annotation" in head and (b"<bndbox" in head or b"<object" not in head)


def loose_parts(path: Path, reading: Reading) -> list[Part]:
    """The splits of annotation files in folders of any name, with pictures in others."""
    folders = loose_folders(path)
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
            parts += listed_parts([top, path], top, pictures, reading)
            continue
        ids = tuple(
            f"{folder.relative_to(top).as_posix()}/{stem}".removeprefix("./")
            for folder in own for stem in stems(folder)
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
