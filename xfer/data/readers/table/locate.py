"""Find the picture that a cell of a table names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from xfer.data.images.walk import find_pictures, is_junk, is_picture, listing, nfc
from xfer.data.sources.split_names import role_of, role_word
from xfer.errors import DataError
from xfer.files import is_dir

# paths without . and .. and empty parts, which stay as they are
_PLAIN = re.compile(r"(?!\.\.?/|.*/\.\.?(?:/|$)|.*//|.*/$).+", re.DOTALL)
# what tells the folders of one set apart: 2 of cam2, _b of site_b
_COUNTED = re.compile(r"[-_ ]?\d+$|[-_ ][a-z]$|(?<=[a-z]{3})[a-e]$")
FULL = 1000  # more parts than any path has


def forms(cell: str) -> Iterator[str]:
    """The paths that a cell may mean: as written; with forward slashes; for a URL or a name with
    %20 or a query, its path without these, and a picture that the query names (?d=pics/a.jpg)."""
    yield cell
    slashes = cell.replace("\\", "/")
    if slashes != cell:
        yield slashes
    if not any(mark in slashes for mark in ("%", "?", "://")):
        return
    try:
        url = urlsplit(slashes)
        values = [value for _, value in parse_qsl(url.query)]
    except ValueError:
        return
    plain = unquote(url.path) if url.path else ""
    yield from (text for text in (plain, *filter(is_picture, values)) if text not in ("", slashes))


def split_of_folder(name: str) -> str | None:
    """The role of the split that a folder's name gives: train for train_images."""
    word = role_word(name)
    return None if word is None else role_of(word)


def _parts(cell: str) -> tuple[str, ...]:
    """The parts of a path, without those that say where it was elsewhere."""
    return tuple(p for p in cell.replace("\\", "/").split("/") if p not in ("", ".", ".."))


def _agreement(path: Sequence[str], parts: Sequence[str]) -> int:
    """How many parts the ends of two paths have in common; the last may lack its ending."""
    count = 1
    for one, other in zip(path[-2::-1], parts[-2::-1], strict=False):
        if nfc(one).casefold() != nfc(other).casefold():
            break
        count += 1
    return count


def _alike(one: str, other: str) -> bool:
    """Whether two folders are named as parts of one set: cam1 and cam2, site_a and site_b, train
    and val."""
    roles = {split_of_folder(one), split_of_folder(other)}
    if one == other or (len(roles) == 2 and None not in roles):
        return one != other
    stems = {_COUNTED.sub("", nfc(name).casefold()) for name in (one, other)}
    return len(stems) == 1 and all(_COUNTED.search(name.casefold()) for name in (one, other))


@dataclass(frozen=True)
class Found:
    """The pictures that cells mean.

    places  | of each cell, the path relative to the table's folder; None: there is no such picture
    reasons | index of a cell without one -> why not, if there is more to say
    shared  | cells that differ but mean the same file
    by_name | (cell, path) where only the last part of the cell's path agrees, and the picture is in
            | a folder that was not searched for its own sake
    """

    places: list[Path | None]
    reasons: dict[int, str]
    shared: list[list[str]]
    by_name: list[tuple[str, str]]

    def lost(self, cells: Sequence[str]) -> list[tuple[str, str]]:
        """(cell, reason) of those without a picture."""
        return [(cell, self.reasons.get(k, "no such picture"))
                for k, cell in enumerate(cells) if self.places[k] is None]  # fmt: skip

    def notes(self, cells: Sequence[str]) -> list[str]:
        """Warnings about cells whose folders are not there, and about those that share a file."""
        lines: list[str] = []
        if self.reasons:
            first = min(self.reasons)
            lines.append(
                f"warning: {len(self.reasons)} pictures are not there, though others have the last "
                f"part of their name: {cells[first]} ({self.reasons[first]})"
            )
        if self.by_name:
            cell, place = self.by_name[0]
            lines.append(
                f"warning: {len(self.by_name)} pictures are found by the last part of their name "
                f"alone, in other folders: {cell} is {place}"
            )
        if self.shared:
            named = "; ".join(" and ".join(dict.fromkeys(own)) for own in self.shared[:3])
            lines.append(
                f"warning: {len(self.shared)} files are named by several entries: {named}"
                + ("; ..." if len(self.shared) > 3 else "")
            )
        return lines


class Locator:
    """Finds pictures by their names in a table, next to the table or in a folder near it.

    A name is looked up in each of its `forms`: as written, then in Unicode's composed form, then
    ignoring case; with or without its extension.

    Args:
        table: the table's file.
        folders: where to look, in this order, relative to the table's folder or absolute; those
            that don't exist are skipped.
        role: of several pictures that fit, one in the folder of another split is not meant.

    drop | number of leading folders to drop from each name, for a table that was written elsewhere
    """

    def __init__(self, table: Path, folders: Sequence[str | Path], role: str | None = None) -> None:
        self.root, self.drop, self.role = table.parent, 0, role
        places = [os.fspath(f) for f in folders]
        self.folders = [f for f in dict.fromkeys(places) if is_dir(self.root / f)]
        self._names: dict[str, dict[str, list[str]]] = {}
        self._below: dict[str, list[Path]] | None = None

    def places(self) -> str:
        """The folders that are searched, in words."""
        return ", ".join(str(self.root / folder) for folder in self.folders)

    def find_all(self, cells: Sequence[str]) -> Found:
        """The pictures that cells mean: by path, see `find`, else by the longest part of its end
        that a picture anywhere below the folders has.

        A picture that has only the last part of a cell's path is not meant by it if another cell
        means it too, if other cells name its folder, or if its own folder is there: cam1/0.jpg is
        not cam2/0.jpg.

        Raises: DataError if several pictures fit a cell equally well.
        """
        tails = [(place, FULL) if (place := self.find(cell)) is not None else self._by_tail(cell)
                 for cell in cells]  # fmt: skip
        places = [place for place, _ in tails]
        # text is quicker to compare than paths; found by tail, it may be written in another way
        tailed = any(place is not None and parts < FULL for place, parts in tails)
        files = ["" if place is None else os.path.normpath(self.root / place) if tailed
                 else os.fspath(place) for place in places]  # fmt: skip
        owners: dict[str, list[int]] = {}
        for k, file in enumerate(files):
            owners.setdefault(file, []).append(k)
        owners.pop("", None)
        reasons = self._doubts(cells, [n for _, n in tails], files, owners) if tailed else {}
        for k in reasons:
            places[k] = None
        same = [[cells[j] for j in own if j not in reasons] for own in owners.values()]
        searched = {os.path.normpath(self.root / folder) for folder in self.folders}
        by_name = [(cells[k], self._with_folder(place)) for k, ((_, parts), place) in
                   enumerate(zip(tails, places, strict=True))
                   if parts == 1 and place is not None and len(_parts(cells[k])) > 1
                   and (str(Path(files[k]).parent) not in searched
                        or _alike(_parts(cells[k])[-2], Path(files[k]).parent.name))]  # fmt: skip
        return Found(places, reasons, [own for own in same if len(set(own)) > 1], by_name)

    def _with_folder(self, place: Path) -> str:
        """A picture's path with its folder, that of the table included."""
        return str(place if len(place.parts) > 1 else Path(self.root.absolute().name, place))

    def _doubts(
        self,
        cells: Sequence[str],
        agreeing: Sequence[int],
        files: Sequence[str],
        owners: Mapping[str, Sequence[int]],
    ) -> dict[int, str]:
        """Index -> why the picture that has only the last part of a cell's path is not meant.

        Args: agreeing: how many parts of its end each cell has in common with its file; owners:
            file -> the cells that mean it.
        """
        # folders that cells name: the pictures in them are not for cells with other folders, and
        # one that lacks a picture is not another folder
        sure = [k for k, n in enumerate(agreeing) if n > 1 and len(_parts(cells[k])) > 1]
        named = {Path(files[k]).parent for k in sure}
        there = {_parts(cells[k])[:-1] for k in sure}
        reasons: dict[int, str] = {}
        for k, n in enumerate(agreeing):
            if n != 1 or len(_parts(cells[k])) < 2:
                continue
            others = [j for j in owners[files[k]] if cells[j] != cells[k]]
            place = os.path.relpath(files[k], self.root)
            if others:
                reasons[k] = f"only {place} has its name, as {cells[others[0]]} has"
            elif _parts(cells[k])[:-1] in there:
                reasons[k] = f"only {place} has its name, and its own folder is there without it"
            elif Path(files[k]).parent in named:
                reasons[k] = f"only {place} has its name, in a folder that other names give"
        return reasons

    def find_anywhere(self, cell: str) -> Path | None:
        """Like `find_all`, for a single cell."""
        return self.find(cell) or self._by_tail(cell)[0]

    def _by_tail(self, cell: str) -> tuple[Path | None, int]:
        """The picture below the folders with the longest end of a cell's path, and how many parts
        that has."""
        if self._below is None:
            self._below = {}
            tops = [self.root / folder for folder in self.folders]
            pictures = {os.path.realpath(p): p for top in tops for p in find_pictures(top)}
            for path in pictures.values():
                for key in dict.fromkeys((path.name, path.stem)):
                    self._below.setdefault(key, []).append(path)
        for text in forms(cell):
            parts = _parts(text)
            same = self._below.get(parts[-1], []) if parts else []
            agreeing = {path: _agreement(path.parts, parts) for path in same}
            most = max(agreeing.values(), default=0)
            best = self._own_split([path for path, n in agreeing.items() if n == most])
            if len(best) > 1:
                raise DataError(f"{cell!r} may be {best[0]} or {best[1]}")
            if best:
                return Path(os.path.relpath(best[0], self.root)), most
        return None, 0

    def _own_split(self, paths: list[Path]) -> list[Path]:
        """Those in no folder of another split, if there are any."""
        if not self.role or len(paths) < 2:
            return paths
        near = {p: Path(os.path.relpath(p, self.root)).parts[:-1] for p in paths}
        own = [p for p in paths if not {*map(split_of_folder, near[p])} - {None, self.role}]
        return own or paths

    def find(self, cell: str) -> Path | None:
        """The picture, relative to the table's folder (or absolute); None if there is none.

        Raises DataError if several files fit equally well.
        """
        if not cell or "\0" in cell:
            return None
        for text in forms(cell):
            if self.drop or text.startswith("/") or not _PLAIN.fullmatch(text):
                text = os.fspath(Path(*Path(text).parts[self.drop :]))
            head, _, name = text.rpartition("/")  # text: paths cost ten times as much
            head = head or "/" * text.startswith("/")
            for folder in ("",) if text.startswith("/") else self.folders:
                picture = self._in(f"{folder}/{head}" if folder and head else folder or head, name)
                if picture is not None:
                    return picture
        return None

    def names_in(self, folder: str) -> set[str]:
        """The names of the pictures in a folder, relative to the table's folder or absolute."""
        return {name for names in self._listed(folder).values() for name in names}

    def _in(self, folder: str, name: str) -> Path | None:
        if not name or name == ".":  # all of it was dropped
            return None
        names = self._listed(folder)
        if not names:
            return None
        for key in (name, nfc(name), nfc(name).casefold()):
            files = names.get(key, [])
            exact = [f for f in files if f == name]
            if len(exact or files) > 1:
                raise DataError(f"{self.root / folder}: {name!r} may be {' or '.join(files)}")
            if files:
                return Path(folder, (exact or files)[0])
        return None

    def _listed(self, key: str) -> dict[str, list[str]]:
        """Every form of the name of a picture in the folder -> the files' names."""
        if key not in self._names:
            names: dict[str, list[str]] = {}
            for entry in listing(self.root / key):
                if is_junk(entry.name) or not is_picture(entry.name):
                    continue
                stem = entry.name.rpartition(".")[0]
                forms = [f for n in (entry.name, stem) for f in (n, nfc(n), nfc(n).casefold())]
                for form in dict.fromkeys(forms):
                    names.setdefault(form, []).append(entry.name)
            self._names[key] = names
        return self._names[key]
