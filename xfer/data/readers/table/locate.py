"""Find the picture that a cell of a table names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from xfer.data.images.walk import find_pictures, is_junk, is_picture, listing, nfc
from xfer.errors import DataError


class Locator:
    """Finds pictures by their names in a table, next to the table or in a folder near it.

    A name is looked up as written, then in Unicode's composed form, then ignoring case; with or
    without its extension.

    Args:
        table: the table's file.
        folders: where to look, in this order, relative to the table's folder or absolute; those
            that don't exist are skipped.

    drop | number of leading folders to drop from each name, for a table that was written elsewhere
    """

    def __init__(self, table: Path, folders: Sequence[str | Path]) -> None:
        self.root, self.drop = table.parent, 0
        places = [os.fspath(f) for f in folders]
        self.folders = [f for f in dict.fromkeys(places) if (self.root / f).is_dir()]
        self._names: dict[str, dict[str, list[str]]] = {}
        self._below: dict[str, list[Path]] | None = None

    def places(self) -> str:
        """The folders that are searched, in words."""
        return ", ".join(str(self.root / folder) for folder in self.folders)

    def find_anywhere(self, cell: str) -> Path | None:
        """Like `find`; else the only picture anywhere below the folders that has this name without
        its folders. Raises DataError if there are several."""
        picture = self.find(cell)
        if picture is not None:
            return picture
        if self._below is None:
            self._below = {}
            tops = [self.root / folder for folder in self.folders]
            pictures = {os.path.realpath(p): p for top in tops for p in find_pictures(top)}
            for path in pictures.values():
                self._below.setdefault(path.name, []).append(path)
        name = cell.replace("\\", "/").rpartition("/")[2]
        same = self._below.get(name, [])
        if len(same) > 1:
            raise DataError(f"{cell!r} may be {same[0]} or {same[1]}")
        return Path(os.path.relpath(same[0], self.root)) if same else None

    def find(self, cell: str) -> Path | None:
        """The picture, relative to the table's folder (or absolute); None if there is none.

        Raises DataError if several files fit equally well.
        """
        if not cell or "\0" in cell:
            return None
        for text in dict.fromkeys((cell, cell.replace("\\", "/"))):
            path = Path(*Path(text).parts[self.drop :])
            for folder in ("",) if path.is_absolute() else self.folders:
                picture = self._in(Path(folder) / path.parent, path.name)
                if picture is not None:
                    return picture
        return None

    def names_in(self, folder: str) -> set[str]:
        """The names of the pictures in a folder, relative to the table's folder or absolute."""
        return {name for names in self._listed(Path(folder)).values() for name in names}

    def _in(self, folder: Path, name: str) -> Path | None:
        if not name:  # all of it was dropped
            return None
        names = self._listed(folder)
        for key in (name, nfc(name), nfc(name).casefold()):
            files = names.get(key, [])
            exact = [f for f in files if f == name]
            if len(exact or files) > 1:
                raise DataError(f"{self.root / folder}: {name!r} may be {' or '.join(files)}")
            if files:
                return folder / (exact or files)[0]
        return None

    def _listed(self, folder: Path) -> dict[str, list[str]]:
        """Every form of the name of a picture in the folder -> the files' names."""
        key = os.fspath(folder)
        if key not in self._names:
            names: dict[str, list[str]] = {}
            for entry in listing(self.root / folder):
                if is_junk(entry.name) or not is_picture(entry.name):
                    continue
                stem = entry.name.rpartition(".")[0]
                forms = [f for n in (entry.name, stem) for f in (n, nfc(n), nfc(n).casefold())]
                for form in dict.fromkeys(forms):
                    names.setdefault(form, []).append(entry.name)
            self._names[key] = names
        return self._names[key]
