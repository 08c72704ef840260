"""Folders: a folder a class, with or without folders for the splits; or pictures without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xfer.data.source import Found, Pictures, Source, formats
from xfer.data.walk import Walk, nfc, subfolders
from xfer.errors import DataError
from xfer.types import DataInfo

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@formats.register("folder")
class Folder:
    """`train/cat/1.jpg` and `val/dog/2.jpg`, or `cat/1.jpg` alone, or only pictures.

    The class is the first folder below the split, whatever lies deeper. Classes are ordered by
    code point, as torchvision orders them.
    """

    @staticmethod
    def recognise(path: Path) -> str | None:
        if not path.is_dir():
            return None
        inside = subfolders(path)
        splits = [p.name for p in inside if p.name.lower() in SPLIT_NAMES]
        if splits and any(subfolders(path / s) for s in splits):
            return f"class folders in {', '.join(splits)}"
        if any(Walk().pictures(p) for p in inside):
            return f"{len(inside)} class folders"
        return "pictures without labels" if Walk().pictures(path) else None

    @staticmethod
    def load(path: Path, name: str) -> Found:
        inside = subfolders(path)
        splits = [p for p in inside if p.name.lower() in SPLIT_NAMES]
        if not any(subfolders(s) for s in splits):
            splits = []
        walk = Walk()
        roots = {s.name: s for s in splits} if splits else {"all": path}
        found = {split: _by_class(root, walk) for split, root in roots.items()}
        notes = list(walk.notes())
        if not any(found.values()):
            return _unlabelled(path, name, walk)
        for split, classes in found.items():
            empty = [c for c, pictures in classes.items() if not pictures]
            if empty:
                notes.append(f"{split}: no pictures in {', '.join(empty[:5])}")
        classes = tuple(
            sorted({c for by_class in found.values() for c, files in by_class.items() if files})
        )
        sources: dict[str, Source] = {}
        for split, by_class in found.items():
            pairs = [(p, classes.index(c)) for c, files in by_class.items() for p in files]
            pairs.sort(key=lambda pair: pair[0].as_posix())
            paths = [p for p, _ in pairs]
            ids = [p.relative_to(path).as_posix() for p in paths]
            labels = np.array([c for _, c in pairs], np.int64)
            info = DataInfo(name, "classify", classes, split)
            sources[split] = Pictures(info, paths, ids, labels)
        return Found("classify", classes, sources, tuple(notes))


def _by_class(root: Path, walk: Walk) -> dict[str, list[Path]]:
    """Class name -> its pictures. Raises DataError where two folders differ in spelling only."""
    found: dict[str, list[Path]] = {}
    for folder in subfolders(root):
        name = nfc(folder.name)
        if name in found:
            raise DataError(f"{root}: two folders are called {name!r}", "rename one of them")
        found[name] = walk.pictures(folder)
    return found


def _unlabelled(path: Path, name: str, walk: Walk) -> Found:
    pictures = walk.pictures(path)
    if not pictures:
        raise DataError(f"{path}: no pictures", "a folder a class, each with pictures in it")
    ids = [p.relative_to(path).as_posix() for p in pictures]
    info = DataInfo(name, "images", (), "all")
    return Found("images", (), {"all": Pictures(info, pictures, ids)}, tuple(walk.notes()))
