"""Ids of a COCO json: looked up as written, else by the name of what they mean.

Some tools write the file's name as the image_id, with or without its ending or zeros in front
(im0 for im0.jpg, 139 for 000000000139), or the category's name as the category_id. Such a name is
taken if it means one entry only. A number is not taken for a name in a file whose other numbers are
ids: its entry is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath

from xfer.data.sources.written import Id, whole_number

NAMED = 3


class LooseIds:
    """Looks up the entries of one list by id.

    Args:
        ids: distinct; names: of the same entries; files: whether they are names of files.
        used: all ids that will be looked up.
    """

    def __init__(
        self,
        ids: Sequence[Id],
        names: Sequence[str],
        used: Collection[Id | None],
        files: bool = False,
    ) -> None:
        self.ids, self.names, self.files = ids, names, files
        self.exact: dict[Id | None, int] = {key: i for i, key in enumerate(ids)}
        self._numbers = any(isinstance(key, int) and key in self.exact for key in used)
        self._by_name: dict[Id, int | None] | None = None
        self._found: dict[Id, int] = {}

    def find(self, key: Id | None) -> int | None:
        """The index of an entry; None if the id means none, or more than one."""
        index = self.exact.get(key)
        if index is not None or key is None or (self._numbers and isinstance(key, int)):
            return index
        if self._by_name is None:
            self._by_name = self._names()
        for form in self._forms(key):
            index = self._by_name.get(form)
            if index is not None:
                self._found[key] = index
                return index
        return None

    def notes(self, what: str) -> list[str]:
        """A line about the ids that were found by name."""
        if not self._found:
            return []
        pairs = [f"{key} is {self.names[i]}" for key, i in list(self._found.items())[:NAMED]]
        more = ", ..." if len(self._found) > NAMED else ""
        return [f"{what} by its name, not by its id: {', '.join(pairs)}{more}"]

    def example(self) -> str:
        """The ids that there are, in words."""
        listed = ", ".join(repr(key) for key in self.ids[:NAMED])
        return f" (they are {listed}{', ...' if len(self.ids) > NAMED else ''})" if listed else ""

    def _names(self) -> dict[Id, int | None]:
        """Every form of an entry's name or id -> its index; None for a form of several entries."""
        found: dict[Id, int | None] = {}
        for i, (key, name) in enumerate(zip(self.ids, self.names, strict=True)):
            for form in {*self._forms(key), *self._forms(name)}:
                found[form] = i if found.get(form, i) == i else None
        return found

    def _forms(self, key: Id) -> Iterator[Id]:
        text = str(key)
        yield text
        if not self.files:
            return
        path = PurePosixPath(text.replace("\\", "/"))
        yield from (path.name, path.stem)
        if (number := whole_number(path.stem)) is not None:
            yield number
