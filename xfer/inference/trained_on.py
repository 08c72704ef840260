"""Which pictures a run was trained on: by their bytes, their files, or their names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import plugs
from xfer.data.sources.base import Subset, path_of
from xfer.data.sources.from_python import SCHEME
from xfer.data.sources.kept import Kept
from xfer.data.sources.marks import MOST, UNKNOWN, marks
from xfer.data.streams.shards import is_stream
from xfer.errors import XferError
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import Recipe
from xfer.runs.folder import Run
from xfer.runs.pictures import read_pictures
from xfer.types import Source


@dataclass(frozen=True)
class Seen:
    """Which pictures of a source were trained on: bool (N,) each.

    same  | the same file, or one with the same bytes
    named | not comparable, but called like a picture that was trained on
    told  | whether there was anything to compare with
    """

    same: NDArray[np.bool_]
    named: NDArray[np.bool_]
    told: bool = True


class TrainedOn:
    """The training pictures of a run.

    marks, truths | role -> a number per picture of split.json, see `xfer.runs.pictures`; may be
                  | empty

    Args: recipe: the run's, for a task; splits: its split.json; classes: of its model.
    """

    def __init__(
        self, folder: Run, recipe: Recipe, splits: Mapping[str, Any], classes: Sequence[str]
    ) -> None:
        self.folder, self.recipe = folder, recipe
        self.splits, self.classes = splits, tuple(classes)
        self.marks, self.truths = read_pictures(folder.path, splits)
        listed = splits.get("train", [])
        self.names = frozenset(listed if isinstance(listed, list) else ())

    def among_own(self, source: Source, numbers: NDArray[np.uint64] | None = None) -> Seen:
        """Those among pictures of the run's own data, whose ids are comparable.

        Args: numbers: their marks, if they were computed.
        """
        same = np.array([name in self.names for name in source.ids], bool)
        known = self.marks.get("train")
        if known is not None:
            same |= _in(marks(source) if numbers is None else numbers, known)
        return Seen(same, np.zeros(len(source), bool), bool(self.names))

    def among_others(self, source: Source) -> Seen:
        """Those among other pictures: other copies, another root, another format."""
        numbers, same = marks(source), np.zeros(len(source), bool)
        known, own = self.marks.get("train"), self._own_files()
        if known is None and own is not None and len(own) <= MOST:
            known = marks(own)
        if known is not None:
            same |= _in(numbers, known)
        if own is not None:
            same |= _same_files(source, own)
        blind = (numbers == UNKNOWN) & [path_of(source, i) is None for i in range(len(source))]
        # numbers are names of pictures in memory: they say nothing
        called = [name in self.names and not name.isdecimal() for name in source.ids]
        told = known is not None or own is not None
        return Seen(same, called & ~same & (blind if told else True), told)

    def _own_files(self) -> Source | None:
        """The training pictures as they are now; None if the run's data are not to be had."""
        kept = Kept(self.splits, "train") if self.names else None
        source = self.recipe.data.source
        if source.startswith(f"{SCHEME}:") or is_stream(source) or "train" not in self.splits:
            return None
        options: dict[str, Any] = {"check": False, "find": False}
        if kept is not None:
            options |= {"kept": kept, "classes": self.classes, "cut": False}
        try:
            with plugs.reading(self.folder.path / "recipe.toml"):
                return open_recipe_data(self.recipe, **options).splits["train"]
        except (XferError, OSError):  # gone, changed beyond recognition, or not trusted
            return None


def _in(numbers: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return np.isin(numbers, known[known != UNKNOWN])


def _same_files(source: Source, own: Source) -> NDArray[np.bool_]:
    """bool (N,): pictures of `source` that are files of `own`, however the path is written."""
    folders: dict[str, str] = {}

    def real(one: Source, i: int) -> str | None:
        path = path_of(one, i)
        if path is None:
            return None
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return f"{folders[folder]}{os.sep}{name}"

    files = [real(source, i) for i in range(len(source))]
    root = getattr(own.source if isinstance(own, Subset) else own, "root", None)
    if len(own) > MOST and root is not None:  # a million paths take ten seconds
        top = f"{os.path.realpath(root)}{os.sep}"
        if not any(file is not None and file.startswith(top) for file in files):
            return np.zeros(len(source), bool)
    theirs = {real(own, i) for i in range(len(own))}
    return np.array([file is not None and file in theirs for file in files], bool)
