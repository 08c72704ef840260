"""`images`: pictures without labels, in a folder or in train/, val/, test/.

With `data.label=from_name` the class is in the name of each file, see `from_names`: cat.0.jpg is a
cat. Where names look so, a line says it.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from xfer.data.images.unread import UNREAD_ENDINGS
from xfer.data.images.walk import (
    WalkResult,
    has_picture,
    is_picture,
    listing,
    readable,
    subfolders,
    walk,
)
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.from_names import FROM_NAME, class_in, classes_in
from xfer.data.readers.table.found import unread_tables
from xfer.data.readers.table.reader import boxes_instead
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import WHOLE, is_plain, role_of, split_folders
from xfer.errors import DataError, XferError, listed
from xfer.types import DataInfo, Source

MOST_JSON = 5


@FORMATS.register("images")
class Images:
    """Pictures and nothing else; used only if no other format finds labels."""

    kinds: ClassVar[tuple[str, ...]] = ("images",)
    low_priority: ClassVar[bool] = True
    takes_images: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ("label",)

    def recognise(self, path: Path) -> str | None:
        if path.is_file():
            return "one picture" if is_picture(path.name) else None
        if boxes_instead(path) is not None:
            return None  # better an error that names them
        folders = subfolders(path)
        splits = split_folders(path, (), folders)
        tops = splits or [path, *(folders if is_plain(folders) else ())]
        if any(has_picture(top, deep=False) for top in tops):
            return "pictures without labels"
        return None

    def explain(self, path: Path) -> DataError | None:
        entries = [e for f in (path, *subfolders(path)) for e in listing(f)]
        kinds = {Path(e.name).suffix.casefold() for e in entries} & {*UNREAD_ENDINGS, ".pdf"}
        if not kinds:
            return None
        what = f"{path}: its pictures are {', '.join(sorted(kinds))}, which are not read"
        return DataError(what, "save them as JPEG or PNG")

    def load(self, path: Path, options: ReadOptions) -> Reading:
        if options.label not in ("", FROM_NAME):
            raise XferError(
                f"data.label={options.label}: {path} holds pictures without a table",
                f"data.label={FROM_NAME} reads the class from the name of each file",
            )
        root = path if path.is_dir() else path.parent
        splits = split_folders(path, options.named, subfolders(path)) if path.is_dir() else []
        skipped = WalkResult()
        found: dict[str, list[Path]] = {}
        for top in splits or [path]:
            pictures = [path]
            if top.is_dir():
                pictures = walk(top, WalkResult(junk=skipped.junk, others=skipped.others)).pictures
            if pictures:
                found[top.name if splits else WHOLE] = pictures
        if not found:
            raise DataError(f"{path}: no pictures in it")
        parts = {
            name: _source(root, name, pictures, options.label == FROM_NAME)
            for name, pictures in found.items()
        }
        notes = [*unread_tables(root), *_unread_json(root), *skipped.notes()]
        if options.label and not any(part.info.classes for part in parts.values()):
            some = next(iter(found.values()))[0].name
            raise DataError(
                f"{path}: data.label={FROM_NAME}: no name holds a class and a number, such as "
                f"{some!r}",
                "cat.0.jpg, cat_12.jpg and 0007_cat.jpg would do",
            )
        if options.label:
            classes = sorted({name for part in parts.values() for name in part.info.classes})
            notes.append(f"classes from the names of the files: {listed(classes, 5)}")
        else:
            notes += _hint(found)
        return Reading(parts, notes)


def _source(root: Path, name: str, pictures: list[Path], from_name: bool) -> Source:
    files = [str(p.relative_to(root)) for p in pictures]
    labels = np.full(len(files), -1, np.int64)
    classes: tuple[str, ...] = ()
    if from_name:
        said = [class_in(p.name) for p in pictures]
        classes = tuple(sorted({readable(one) for one in said if one}))
        place = {one: k for k, one in enumerate(classes)}
        labels = np.array([place.get(readable(one), -1) for one in said], np.int64)
    kind = "classify" if classes else "images"
    return FileSource(
        DataInfo(root.name, kind, classes, role_of(name) or name), root, files, labels
    )


def _unread_json(root: Path) -> list[str]:
    """A line about files beside the pictures that may say what is in them."""
    names = [e.name for e in listing(root) if e.name.casefold().endswith(".json")]
    if not 0 < len(names) <= MOST_JSON:  # else there is one per picture
        return []
    return [f"not read: {listed(names, MOST_JSON)}; a table of path,label would be"]


def _hint(found: dict[str, list[Path]]) -> list[str]:
    """A line if the names of the pictures look as if they held the classes."""
    train = next((some for name, some in found.items() if role_of(name) == "train"), None)
    classes = classes_in(p.name for p in train or next(iter(found.values())))
    if not classes:
        return []
    return [
        f"the names of the files look like classes and numbers ({listed(classes, 5)}): "
        f"data.label={FROM_NAME} reads them so"
    ]
