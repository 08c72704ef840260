"""`folder`: a folder of class folders, or train/, val/ and test/ with class folders in each.

The class of a picture is the first folder below the top or the split; folders inside it are
searched too. Classes are sorted by code point, as in torchvision's ImageFolder (1, 10, 2; timm has
1, 2, 10). Folders without a picture are not classes. If a split holds only a folder of its own
name, train/train/, that folder is read.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import ClassVar

import numpy as np

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
from xfer.data.readers.masks.layout import find_places
from xfer.data.readers.table.found import unread_tables
from xfer.data.readers.table.reader import Csv
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import WHOLE, is_plain, role_of, role_word, split_folders
from xfer.errors import DataError, XferError
from xfer.types import DataInfo, Source

__all__ = ["Folder", "find_pictures"]

# folders with these names belong to sets of boxes or masks: not sorted by class
OTHER_LAYOUTS = frozenset(
    ("annotations", "imagesets", "jpegimages", "segmentationclass", "masks", "labels")
)


@FORMATS.register("folder")
class Folder:
    """Pictures sorted into folders by class."""

    kinds: ClassVar[tuple[str, ...]] = ("classify", "images")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

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
            return f"class folders in {', '.join(f'{name}/' for name in sorted_in)}"
        full = _full(folders)
        if not full or is_plain(folders) or _within(full) or _like_splits(folders):
            return None
        if _has_masks(full[0]):
            return None
        if len(full) == 1 and Csv().recognise(path) is not None:
            return None  # the folder holds the pictures of a table
        return "class folders"

    def explain(self, path: Path) -> XferError | None:
        folders = subfolders(path)
        if any(f.name.casefold() in OTHER_LAYOUTS for f in folders):
            return None
        if (inner := _within(_full(folders))) is not None:
            return DataError(f"{path}: the data are in {inner.name}/", f"give {inner}")
        if named := _like_splits(folders):
            flags = " ".join(f"--{role} {name}" for role, name in named.items())
            what = ", ".join(f"{f.name}/" for f in folders)
            return XferError(f"{path}: are {what} splits or classes?",
                             f"splits: {flags}; classes: folder:{path}")  # fmt: skip
        if (full := _full(folders)) and _has_masks(full[0]):
            return DataError(f"{path}: folders of pictures and masks, such as {full[0].name}/",
                             "put all pictures in one folder, all masks in another")  # fmt: skip
        return None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        folders = subfolders(path)
        splits = _splits(path, options.named, folders)
        skipped = WalkResult()
        notes: list[str] = []
        parts: dict[str, Source] = {}
        for top in splits or [path]:
            name = top.name if splits else WHOLE
            part = _read(path, top, name, skipped, notes)
            if part is not None:
                parts[name] = part
        if splits and (rest := [f.name for f in folders if f not in splits and has_picture(f)]):
            notes.append(f"folders that are not splits are left out: {', '.join(rest)}")
        notes += unread_tables(path)
        if any(place.masks == place.images for place in find_places(path, options.named)):
            notes.append("warning: masks next to their pictures (x_mask) are read as pictures: "
                         f"masks:{path} reads them as masks")  # fmt: skip
        if not parts:
            raise DataError(
                f"{path}: no pictures in it", "one folder per class, or train/ and val/"
            )
        return Reading(parts, [*notes, *skipped.notes()])


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


def _unwrapped(split: Path) -> Path:
    """The split itself, or the folder of its name if it holds nothing else."""
    inside = subfolders(split)
    if len(inside) == 1 and inside[0].name.casefold() == split.name.casefold():
        return split if has_picture(split, deep=False) else inside[0]
    return split


def _read(root: Path, top: Path, name: str, skipped: WalkResult, notes: list[str]) -> Source | None:
    """The pictures of one split; None if there are none."""
    files: list[Path] = []
    labels: list[int] = []
    classes: list[str] = []
    empty: list[str] = []
    where = top.name if name != WHOLE else root.name
    top = top if name == WHOLE else _unwrapped(top)
    for folder in subfolders(top):
        inside = walk(folder, WalkResult(junk=skipped.junk, others=skipped.others)).pictures
        if not inside:
            empty.append(folder.name)
            continue
        labels += [len(classes)] * len(inside)
        classes.append(readable(folder.name))
        files += inside
    loose = [Path(e.path) for e in listing(top) if is_picture(e.name) and not is_junk(e.name)]
    if empty:
        notes.append(f"{where}: folders without a picture are not classes: {', '.join(empty)}")
    if not classes and loose:
        # a split without class folders: pictures to predict on, not to learn from
        files, labels = loose, [-1] * len(loose)
    elif loose:
        notes.append(f"{where}: {len(loose)} pictures outside the class folders are left out")
    if not files:
        return None
    kind = "classify" if classes else "images"
    split = role_of(name) or name
    relative = [str(f.relative_to(root)) for f in files]
    info = DataInfo(root.name, kind, tuple(classes), split)
    return FileSource(info, root, relative, np.array(labels, np.int64))
