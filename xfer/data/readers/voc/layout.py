"""Where the annotation files, pictures and lists of a VOC set lie: VOC's own trees, and XML beside
the pictures. For folders of any name, see `side_files.layout`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xfer.data.images.walk import is_junk, is_picture, listing, subfolders
from xfer.data.readers.base import Reading
from xfer.data.readers.other_tools import other_tool
from xfer.data.readers.side_files.layout import ENTRIES, Part, Sort, listed_parts, stems
from xfer.data.readers.voc.masks import has_masks
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.files import is_file, lines_of

ANNOTATIONS = ("Annotations", "annotations")
PICTURES = ("JPEGImages", "images", "Images", "")


def _is_annotation(head: bytes) -> bool:
    """Whether an XML file is an annotation with boxes, or without objects, by its beginning."""
    if b"<annotation" not in head or b"<annotations" in head:  # CVAT's own xml, of all pictures
        return False
    return b"<bndbox" in head or b"<object" not in head


XML = Sort(".xml", _is_annotation)


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


def tree_parts(root: Path, reading: Reading) -> list[Part]:
    """The splits of a tree with Annotations: those of its lists, or everything as one."""
    xmls = xml_folder(root) or root / ANNOTATIONS[0]
    pictures = tuple(root / name for name in PICTURES)
    parts: list[Part] = []
    for entry in listing(root / "ImageSets" / "Main"):
        if is_junk(entry.name) or not entry.name.endswith(".txt"):
            continue
        lines = lines_of(Path(entry.path))
        ids = [_id(line, xmls) for line in lines]
        if ids and not _of_class(ids):
            name = WHOLE if entry.name == "default.txt" else entry.name.removesuffix(".txt")
            parts.append(Part(name, xmls, pictures, tuple(dict.fromkeys(ids)), True))
    parts = parts or listed_parts([root / "ImageSets", root], xmls, XML, pictures, reading)
    return _by_folder(parts[0]) if len(parts) == 1 and not parts[0].listed else parts


def _by_folder(part: Part) -> list[Part]:
    """The splits of Annotations/train/x.xml if all files are in such folders; else the part."""
    splits = {name.partition("/")[0] if "/" in name else "" for name in part.ids}
    if not splits or not all(map(role_of, splits)):
        return [part]
    return [Part(split, part.top, part.pictures,
                 tuple(name for name in part.ids if name.startswith(f"{split}/")))
            for split in sorted(splits)]  # fmt: skip


def _id(listed: str, xmls: Path) -> str:
    """The id of an annotation file; some lists name the pictures instead."""
    if not is_picture(listed) or is_file(xmls / f"{listed}.xml"):
        return listed
    stem = listed.rpartition(".")[0]
    return stem if is_file(xmls / f"{stem}.xml") else listed


def _of_class(lines: list[str]) -> bool:
    """Whether a list is for one class: an id and 1, -1 or 0 on each line."""
    return all(line.rpartition(" ")[2] in ("1", "-1", "0") and " " in line for line in lines)


def flat_parts(path: Path) -> list[Part]:
    """Splits, or one folder, with XML files next to the pictures."""
    tops = [f for f in subfolders(path) if role_of(f.name) and _has_own_xml(f)]
    if tops:
        return [Part(top.name, top, (top,), stems(top, XML)) for top in tops]
    return [Part(WHOLE, path, (path,), stems(path, XML))] if _has_own_xml(path) else []


def _has_own_xml(folder: Path) -> bool:
    """Whether a folder holds XML files, and not only one of another tool for all pictures."""
    names = [e.name for e in listing(folder) if e.name.endswith(".xml") and not is_junk(e.name)]
    return len(names) > 1 or (len(names) == 1 and other_tool(folder / names[0]) is None)
