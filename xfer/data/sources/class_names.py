"""Classes by name: the same label means the same class in every split, whatever its place there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.images.walk import nfc
from xfer.data.sources.base import Subset
from xfer.data.sources.wordnet import leading_wnid
from xfer.errors import DataError
from xfer.types import Source


def match_classes(
    source: Source, classes: tuple[str, ...], where: str, theirs: str
) -> tuple[Source, list[str]]:
    """The source with its labels as indices into `classes`.

    Names are equal as they are, else in Unicode's composed form, else in any case, else by the
    WordNet id that they begin with.

    Args:
        where: what the source is called in messages; theirs: whose classes they are.

    Returns: the source (itself where nothing changes), and lines on names that are not quite equal.
    Raises: DataError naming the classes that have no partner, or more than one.
    """
    own = source.info.classes
    if own == classes:
        return source, []
    partners = _Partners(classes, where)
    pairs = {name: partners.of(name) for name in kinds.get(source.info.kind).used_classes(source)}
    missing = [name for name, partner in pairs.items() if partner is None]
    if missing:
        raise DataError(
            f"{where} has classes that {theirs} has not: {listed(missing)}",
            f"{theirs} has {listed(classes)}; classes are matched by name",
        )
    found = {name: partner for name, partner in pairs.items() if partner is not None}
    if len(set(found.values())) < len(found):
        raise DataError(f"{where}: several of its classes mean the same one of {theirs}")
    notes = [f"{where}: {a!r} is taken for {b!r}" for a, b in found.items() if nfc(a) != nfc(b)]
    places = {name: i for i, name in enumerate(classes)}
    table: NDArray[np.int64] = np.array([places[found[n]] if n in found else -1 for n in own])
    everything = np.arange(len(source))
    return Subset(source, everything, classes=classes, table=table), notes


class _Partners:
    """Which of some classes another name means, looked up by each form of it."""

    forms: ClassVar = (nfc, lambda text: nfc(text).casefold(), leading_wnid)

    def __init__(self, classes: Sequence[str], where: str) -> None:
        self.where, self.own = where, set(classes)
        self.by_form: list[dict[str, list[str]]] = []
        for form in self.forms:
            called: dict[str, list[str]] = {}
            for name in classes:
                called.setdefault(form(name), []).append(name)
            self.by_form.append(called)

    def of(self, name: str) -> str | None:
        """The class that is meant; None where there is none. Raises DataError for several."""
        if name in self.own:
            return name
        for form, called in zip(self.forms, self.by_form, strict=True):
            found = called.get(key, []) if (key := form(name)) else []
            if len(found) > 1:
                raise DataError(
                    f"{self.where}: {name!r} may be any of {listed(found)}", "make them equal"
                )
            if found:
                return found[0]
        return None


def listed(names: Sequence[str], many: int = 10) -> str:
    """Names in a line; the first `many`."""
    more = f" and {len(names) - many} more" if len(names) > many else ""
    return ", ".join(names[:many]) + more
