"""Match classes by name, so that a label means the same class in every split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from xfer import kinds
from xfer.data.images.walk import nfc
from xfer.data.sources.base import Subset
from xfer.data.sources.wordnet import leading_wnid
from xfer.data.together import Together
from xfer.errors import DataError, listed
from xfer.kinds.labels import plain_name
from xfer.types import Source


def match_classes(
    source: Source, classes: tuple[str, ...], where: str, theirs: str
) -> tuple[Source, list[str]]:
    """Returns the source with its labels as indices into `classes`.

    Names match if they are equal, else if equal in Unicode's composed form, else ignoring case,
    else ignoring blanks, hyphens and underscores, else by the WordNet id that they begin with.

    Args:
        where: name of the source in messages; theirs: owner of `classes` in messages.

    Returns: the source (itself if nothing changes), and lines about names that are not quite equal.
    Raises: DataError naming the classes that match none of `classes`, or more than one.
    """
    own = source.info.classes
    if own == classes:
        return source, []
    if isinstance(source, Together):
        return _match_parts(source, classes, where, theirs)
    partners = _Partners(classes, where)
    kind = kinds.get(source.info.kind)
    pairs = {name: partners.of(name) for name in kind.used_classes(source)}
    missing = [name for name, partner in pairs.items() if partner is None]
    if missing:  # a class that is declared alone does no harm
        counts: dict[str, int] = kind.summary(source).get("classes", {})
        missing = [name for name in missing if counts.get(name, 1)]
    if missing:
        raise DataError(
            f"{where} has classes that {theirs} does not have: {listed(missing)}",
            f"{theirs} has {listed(classes)}; classes are matched by name",
        )
    matches = {name: partner for name, partner in pairs.items() if partner is not None}
    if len(set(matches.values())) < len(matches):
        raise DataError(f"{where}: several of its classes match the same class of {theirs}")
    notes = [f"{where}: {a!r} is taken for {b!r}" for a, b in matches.items() if nfc(a) != nfc(b)]
    places = {name: i for i, name in enumerate(classes)}
    # int64 said, since of no class numpy would make an array of floats
    table = np.array([places[matches[n]] if n in matches else -1 for n in own], np.int64)
    everything = np.arange(len(source))
    return Subset(source, everything, classes=classes, table=table), notes


def _match_parts(
    source: Together, classes: tuple[str, ...], where: str, theirs: str
) -> tuple[Source, list[str]]:
    """As `match_classes`, for each kind of data that the source holds."""
    parts: dict[str, Source] = {}
    notes: list[str] = []
    for part in source.kind.parts:
        wanted = source.kind.classes_of(part, classes)
        parts[part.name], lines = match_classes(source.parts[part.name], wanted, where, theirs)
        notes += lines
    return Together(parts, source.info.split), notes


class _Partners:
    """Looks up which class a name means, by each form of the name."""

    forms: ClassVar = (nfc, lambda text: nfc(text).casefold(), plain_name, leading_wnid)

    def __init__(self, classes: Sequence[str], where: str) -> None:
        self.where, self.own = where, set(classes)
        self.by_form: list[dict[str, list[str]]] = []
        for form in self.forms:
            names: dict[str, list[str]] = {}
            for name in classes:
                names.setdefault(form(name), []).append(name)
            self.by_form.append(names)

    def of(self, name: str) -> str | None:
        """The class that a name means; None if there is none. Raises DataError for several."""
        if name in self.own:
            return name
        for form, names in zip(self.forms, self.by_form, strict=True):
            candidates = names.get(key, []) if (key := form(name)) else []
            if len(candidates) > 1:
                raise DataError(
                    f"{self.where}: {name!r} may be any of {listed(candidates)}",
                    "use equal names",
                )
            if candidates:
                return candidates[0]
        return None
