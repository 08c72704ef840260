"""`images`: pictures without labels, in a folder or in train/, val/, test/."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from xfer.data.images.walk import WalkResult, has_picture, is_picture, listing, subfolders, walk
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.table.found import unread_tables
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import WHOLE, is_plain, role_of, split_folders
from xfer.errors import DataError
from xfer.types import DataInfo, Source

# formats of pictures that are not supported
UNSUPPORTED = frozenset(
    (".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".dcm", ".svg", ".pdf")
)


@FORMATS.register("images")
class Images:
    """Pictures and nothing else; used only if no other format finds labels."""

    kinds: ClassVar[tuple[str, ...]] = ("images",)
    low_priority: ClassVar[bool] = True
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        if path.is_file():
            return "one picture" if is_picture(path.name) else None
        folders = subfolders(path)
        splits = split_folders(path, (), folders)
        tops = splits or [path, *(folders if is_plain(folders) else ())]
        if any(has_picture(top, deep=False) for top in tops):
            return "pictures without labels"
        return None

    def explain(self, path: Path) -> DataError | None:
        entries = [e for f in (path, *subfolders(path)) for e in listing(f)]
        kinds = {Path(e.name).suffix.casefold() for e in entries} & UNSUPPORTED
        if not kinds:
            return None
        what = f"{path}: its pictures are {', '.join(sorted(kinds))}, which are not read"
        return DataError(what, "save them as JPEG or PNG")

    def load(self, path: Path, options: ReadOptions) -> Reading:
        root = path if path.is_dir() else path.parent
        splits = split_folders(path, options.named, subfolders(path)) if path.is_dir() else []
        skipped = WalkResult()
        parts: dict[str, Source] = {}
        for top in splits or [path]:
            pictures = [path]
            if top.is_dir():
                pictures = walk(top, WalkResult(junk=skipped.junk, others=skipped.others)).pictures
            if not pictures:
                continue
            name = top.name if splits else WHOLE
            info = DataInfo(root.name, "images", (), role_of(name) or name)
            files = [str(p.relative_to(root)) for p in pictures]
            parts[name] = FileSource(info, root, files, np.full(len(files), -1, np.int64))
        if not parts:
            raise DataError(f"{path}: no pictures in it")
        return Reading(parts, [*unread_tables(root), *skipped.notes()])
