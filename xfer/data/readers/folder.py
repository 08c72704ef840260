"""`folder`: a folder of class folders, or train/, val/ and test/ with class folders in each.

The class of a picture is the first folder below the top or the split; folders inside it are
searched too. Classes are sorted by code point, as in torchvision's ImageFolder (1, 10, 2; timm has
1, 2, 10). Folders without a picture are not classes; those of a kind that is not read (.heic) are
named. If a split holds only a folder of its own name, train/train/, that folder is read.

Lists called train.txt, val.txt, ... beside the class folders split them, where all of their lines
name pictures; beside a folder that holds all class folders too (Food-101's images/ and meta/, CUB).
Class folders that all hold folders of the same names (fold_1/cat, fold_2/cat) are asked about, so
are those that are no classes by their names, see `not_classes`, and folders of pictures and masks
are none.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from xfer.data.images.unread import is_unread
from xfer.data.images.walk import (
    WalkResult,
    find_pictures,
    has_picture,
    is_junk,
    is_picture,
    listing,
    readable,
    subfolders,
    walk,
)
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.imagenet.trees import find_tree
from xfer.data.readers.masks.layout import find_layout, find_places, first_pair
from xfer.data.readers.not_classes import no_classes, which
from xfer.data.readers.table.found import unread_tables
from xfer.data.readers.table.list_splits import splits_by_lists, use_lists
from xfer.data.readers.table.reader import Csv
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import PLAIN, WHOLE, is_plain, role_of, role_word, split_folders
from xfer.errors import DataError, XferError, listed
from xfer.types import DataInfo, Source

__all__ = ["Folder", "find_pictures"]

# folders with these names belong to sets of boxes or masks: not sorted by class
OTHER_LAYOUTS = frozenset(
    ("annotations", "imagesets", "jpegimages", "segmentationclass", "masks", "labels")
)


# folders of other pictures of the same things: never classes
_VIEWS = frozenset(
    ("rgb", "depth", "ir", "nir", "infrared", "thermal", "grey", "gray", "color", "colour",
     "images", "image", "img", "imgs", "photos", "pictures", "original", "originals", "raw", "crop",
     "crops", "cropped", "augmented", "aug", "resized", "front", "back", "left", "right", "top",
     "side")
)  # fmt: skip
FEW = 3  # class folders that are looked into to know what all of them hold


@FORMATS.register("folder")
class Folder:
    """Pictures sorted into folders by class."""

    kinds: ClassVar[tuple[str, ...]] = ("classify", "images")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def __init__(self) -> None:
        # a picture and its mask in each folder that was looked at, None if it has none
        self.mates: dict[Path, tuple[Path, Path] | None] = {}

    def recognise(self, path: Path) -> str | None:
        if not path.is_dir():
            return None
        folders = subfolders(path)
        if any(f.name.casefold() in OTHER_LAYOUTS for f in folders):
            return None
        if find_tree(path) is not None:  # classes by WordNet id: `imagenet` handles these better
            return None
        splits = _splits(path, (), folders)
        if splits:
            sorted_in = [f.name for f in splits if _has_class(f)]
            if not sorted_in:
                return None
            text = f"class folders in {', '.join(f'{name}/' for name in sorted_in)}"
            return None if self._apart(path) else text
        full = _full(folders)
        if (inner := _listed_inside(path, full)) is not None:
            return f"class folders in {inner.name}/"
        if not full or is_plain(folders) or _within(full) or _like_splits(folders):
            return None
        if _has_masks(full[0]) or _two_levels(folders) or self._apart(path):
            return None
        if len(full) > 1 and no_classes(folders) is not None:
            return None
        if _only_pictures(full, folders):
            return None
        if len(full) == 1 and Csv().recognise(path) is not None:
            return None  # the folder holds the pictures of a table
        return "class folders"

    def _apart(self, path: Path) -> bool:
        """Whether pictures and their masks are in different folders, so that neither is a class."""
        if path not in self.mates:
            self.mates[path] = first_pair(path)
        mates = self.mates[path]
        if mates is None:
            return False
        pictures, masks = (place if place.is_dir() else place.parent for place in mates)
        return pictures != masks

    def explain(self, path: Path) -> XferError | None:
        folders = subfolders(path)
        if any(f.name.casefold() in OTHER_LAYOUTS for f in folders):
            return None
        full = _full(folders)
        if (inner := _within(full)) is not None:
            return DataError(f"{path}: the data are in {inner.name}/", f"give {inner}")
        if named := _like_splits(folders):
            flags = " ".join(f"--{role} {name}" for role, name in named.items())
            what = ", ".join(f"{f.name}/" for f in folders)
            return XferError(f"{path}: are {what} splits or classes?",
                             f"splits: {flags}; classes: folder:{path}")  # fmt: skip
        if full and _has_masks(full[0]):
            return DataError(f"{path}: folders of pictures and masks, such as {full[0].name}/",
                             "put all pictures in one folder, all masks in another")  # fmt: skip
        if inside := _two_levels(folders):
            return _which_level(path, folders, inside)
        if len(full) > 1 and (why := no_classes(folders)) is not None:
            return which(path, folders, why)
        return None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        folders = subfolders(path)
        splits = _splits(path, options.named, folders)
        skipped = WalkResult()
        reading = Reading({})
        masks = set[Path]()
        if not self._apart(path) and self.mates[path] is not None:
            masks = _masks(path, options.named, reading)
        inner = None if splits else _listed_inside(path, _full(folders))
        for top in splits or [inner or path]:
            name = top.name if splits else WHOLE
            part = _read(path, top, name, masks, skipped, reading)
            if part is not None:
                reading.parts[name] = part
        rest = [f"{f.name}/" for f in folders if splits and f not in splits and has_picture(f)]
        reading.leave("folder that is not a split", "folders that are not splits", rest)
        if not reading.parts:
            raise _no_pictures(path, reading)
        used = [] if splits else use_lists(path, reading)
        if not splits and path.name.casefold() in PLAIN and splits_by_lists(path.absolute().parent):
            reading.notes.append(
                f"warning: lists beside {path.name}/ may split it, and are not read: give the "
                "folder above"
            )
        reading.notes.extend([*unread_tables(path, used), *skipped.notes()])
        return reading


def _masks(path: Path, named: tuple[str, ...], reading: Reading) -> set[Path]:
    """The masks that lie next to the pictures in class folders: x_mask.png is not a picture."""
    where = f"masks:{path} reads them as masks"
    try:
        layout = find_layout(path, named)
    except XferError:  # it is a question which files are the masks
        layout = None
    if layout is None:
        what = "masks next to their pictures (x_mask) are read as pictures"
        reading.notes.append(f"warning: {what}: {where}")
        return set()
    masks = {m for part in layout.parts for _, m in part.files}
    masks |= {m for part in layout.parts for more in part.more.values() for m in more}
    what = f"{len(masks)} masks next to their pictures, such as {min(masks).name}, are left out"
    reading.notes.append(f"{what}: {where}")
    return masks


def _no_pictures(path: Path, reading: Reading) -> DataError:
    why = "".join(f": {name} holds {reason}" for name, reason in reading.skipped[:1])
    return DataError(f"{path}: no pictures in it{why}", "one folder per class, or train/ and val/")


def _splits(path: Path, named: tuple[str, ...], folders: list[Path]) -> list[Path]:
    """The folders that are splits. A class `train`, next to bus and car, is not one."""
    splits = split_folders(path, named, folders)
    if not named and [role_of(f.name) for f in splits] == ["train"] and not _has_class(splits[0]):
        others = [f for f in folders if f not in splits and role_word(f.name) is None]
        if len(_full(others)) == 2:
            return []
    return splits


def _has_class(top: Path) -> bool:
    return any(has_picture(folder) for folder in subfolders(top))


def _full(folders: list[Path]) -> list[Path]:
    """The first two folders that hold pictures: enough to tell none, one and more apart."""
    return list(itertools.islice(filter(has_picture, folders), 2))


def _within(full: list[Path]) -> Path | None:
    """The only folder with pictures, if it is not a class: it holds folders with pictures, but no
    pictures itself."""
    if len(full) != 1 or has_picture(full[0], deep=False):
        return None
    return full[0] if _has_class(full[0]) else None


def _only_pictures(full: list[Path], folders: list[Path]) -> bool:
    """Whether the only folder with pictures is called images, and there are others beside it: what
    is in the pictures is said elsewhere."""
    return len(full) == 1 < len(folders) and full[0].name.casefold() in PLAIN


def where_pictures_are(path: Path) -> DataError | None:
    """The error for a folder of which no format knows more than that one folder in it holds
    pictures."""
    folders = subfolders(path)
    full = _full(folders)
    if (inner := _within(full)) is not None:
        return DataError(f"{path}: the data are in {inner.name}/", f"give {inner}")
    if not _only_pictures(full, folders):
        return None
    what = f"the pictures are in {full[0].name}/, and nothing that is read says what they show"
    return DataError(f"{path}: {what}", f"pictures without labels: give {full[0]}")


def _listed_inside(path: Path, full: list[Path]) -> Path | None:
    """The only folder with pictures, if it holds class folders, and lists beside it split them."""
    inner = _within(full)
    if inner is None or find_tree(inner) is not None or not splits_by_lists(path):
        return None
    return None if _splits(inner, (), subfolders(inner)) or _has_masks(inner) else inner


def _has_masks(folder: Path) -> bool:
    """Whether a folder is not a class: it holds pictures in one folder, masks in another."""
    return not has_picture(folder, deep=False) and bool(find_places(folder))


def _like_splits(folders: list[Path]) -> dict[str, str]:
    """Role -> folder, for folders of classes whose names contain a word for a split, seg_train and
    seg_test; empty unless there is one for training and another one."""
    folders_of: dict[str, str] = {}
    for folder in folders:
        word = role_word(folder.name)
        role = None if word is None else role_of(word)
        if role is not None and _has_class(folder):
            folders_of.setdefault(role, folder.name)
    known = {role: folders_of[role] for role in ("train", "val", "test") if role in folders_of}
    return known if "train" in known and len(known) > 1 else {}


def _two_levels(folders: Sequence[Path]) -> list[str]:
    """The names of the folders inside class folders, if the first few of these hold nothing but
    folders of the same names, which may be the classes; none if they are views: rgb, depth."""
    full = list(itertools.islice(filter(has_picture, folders), FEW))
    if len(full) < 2 or any(has_picture(folder, deep=False) for folder in full):
        return []
    inside = [[f.name for f in subfolders(folder) if has_picture(f)] for folder in full]
    alike = len({tuple(name.casefold() for name in names) for names in inside}) == 1
    views = alike and {name.casefold() for name in inside[0]} <= _VIEWS
    return inside[0] if alike and len(inside[0]) > 1 and not views else []


def _which_level(path: Path, folders: Sequence[Path], inside: Sequence[str]) -> XferError:
    tops = [f.name for f in folders if has_picture(f)]
    above = ", ".join(f"{name}/" for name in tops[:3]) + (", ..." if len(tops) > 3 else "")
    below = ", ".join(f"{name}/" for name in inside[:3]) + (", ..." if len(inside) > 3 else "")
    return XferError(
        f"{path}: are {above} the classes, or {below} in each of them?",
        f"the former: folder:{path}; the latter: --train {tops[0]} --val {tops[1]}, or give one "
        f"folder, {path / tops[0]}",
    )


def _unwrapped(split: Path) -> Path:
    """The split itself, or the folder of its name if it holds nothing else."""
    inside = subfolders(split)
    if len(inside) == 1 and inside[0].name.casefold() == split.name.casefold():
        return split if has_picture(split, deep=False) else inside[0]
    return split


def _read(
    root: Path, top: Path, name: str, masks: set[Path], skipped: WalkResult, reading: Reading
) -> Source | None:
    """The pictures of one split, without these masks; None if there are none."""
    files: list[Path] = []
    labels: list[int] = []
    classes: list[str] = []
    where = "" if name == WHOLE else f"{top.name}/"
    top = top if name == WHOLE else _unwrapped(top)
    empty: list[str] = []
    for folder in subfolders(top):
        result = walk(folder, WalkResult(junk=skipped.junk))
        skipped.others += result.others
        pictures = [p for p in result.pictures if p not in masks] if masks else result.pictures
        if not pictures:
            if result.others:
                _not_a_class(f"{where}{folder.name}/", result.others, reading)
            else:
                empty.append(f"{where}{folder.name}/")
            continue
        labels += [len(classes)] * len(pictures)
        classes.append(readable(folder.name))
        files += pictures
    loose = [Path(e.path) for e in listing(top) if is_picture(e.name) and not is_junk(e.name)]
    reading.leave("empty folder", "empty folders", empty)
    _tell_deeper(top, classes, files, reading)
    if not classes and loose:
        # a split without class folders: pictures to predict on, not to learn from
        files, labels = loose, [-1] * len(loose)
    elif loose:
        reading.leave("picture outside the class folders", "pictures outside the class folders",
                      [readable(str(p.relative_to(root))) for p in loose])  # fmt: skip
    if not files:
        return None
    kind = "classify" if classes else "images"
    split = role_of(name) or name
    # text is ten times as quick as relative_to
    start = "" if root == Path() else f"{str(root).rstrip(os.sep)}{os.sep}"
    relative = [str(f).removeprefix(start) for f in files]
    info = DataInfo(root.name, kind, tuple(classes), split)
    return FileSource(info, root, relative, np.array(labels, np.int64))


def _tell_deeper(
    top: Path, classes: Sequence[str], files: Sequence[Path], reading: Reading
) -> None:
    """A warning if all pictures are in folders below the class folders, and these are more."""
    depth = len(top.parts) + 1
    if len(classes) < 2 or any(len(file.parts) == depth + 1 for file in files):
        return
    below = list(dict.fromkeys("/".join(file.parts[depth - 1 : -1]) for file in files))
    views = {name.rpartition("/")[2].casefold() for name in below} <= _VIEWS
    if len(below) > len(classes) and not views:
        some = listed([readable(name) for name in below], 3)
        reading.notes.append(
            f"warning: the classes are {listed(classes, 3)}, not the {len(below)} folders below "
            f"them ({some})"
        )


def _not_a_class(folder: str, others: Counter[str], reading: Reading) -> None:
    """Record a folder that holds files but no picture that is read."""
    count, ending = max((n, ending) for ending, n in others.items())
    what = f"{count} {ending} file{'s' if count > 1 else ''}"
    if is_unread(f"x{ending}"):
        reading.notes.append(
            f"warning: {folder} holds {what}, a kind of picture that is not read, so it is not a "
            "class: save them as JPEG or PNG"
        )
        reading.skipped.append((folder, f"{what}, which are not read"))
    else:
        reading.leave("folder of other files", "folders of other files", [folder])
