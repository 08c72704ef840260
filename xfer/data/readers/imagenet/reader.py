"""`imagenet`: ILSVRC2012 and related sets, in the forms in which they are distributed.

The tars as downloaded (`tars`) or a tree of folders (`trees`). Classes are ordered by WordNet id,
whatever numbers the devkit gives them, and named by it with its first word: "n01440764 tench". A
stored index opens a million pictures at once: see `kept_index`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from xfer.data.catalog import KNOWN
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.imagenet.tars import find_tars, read_tars
from xfer.data.readers.imagenet.trees import Tree, find_tree, read_tree, split_folders
from xfer.errors import DataError


@FORMATS.register("imagenet")
class ImageNet:
    """Pictures by WordNet id, in tars or folders."""

    kinds: ClassVar[tuple[str, ...]] = ("classify",)
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        if not path.is_dir():
            return None
        tars = find_tars(path)
        if tars:
            return " and ".join(tars)
        tree = find_tree(path)
        return None if tree is None else tree.what

    def load(self, path: Path, options: ReadOptions) -> Reading:
        tree, notes = find_tree(path), list[str]()
        parts = read_tars(path, options.verify)
        if tree is None and parts:  # a flat val/ and the devkit next to the tar of train
            tree = Tree("folders", path, split_folders(path))
        if tree is not None:  # splits without a tar may be unpacked
            rest = {split: folder for split, folder in tree.splits.items() if split not in parts}
            unpacked, notes = read_tree(replace(tree, splits=rest), options.verify)
            parts |= unpacked
        for part in parts.values():
            notes += [note for note in part.index.notes if note not in notes]
        if not parts:
            raise DataError(
                f"{path}: no ImageNet in it", f"it should hold {KNOWN['imagenet'].tree}"
            )
        return Reading({**parts}, notes)
