"""Changes to data that are kept beside them, in a csv: `data.changes=FILE`. The data stay as they
are.

    split,id,change,value,reason
    train,bees/7.jpg,label,ants,a probe on frozen features says ants (0.98)
    train,bees/8.jpg,drop,,the same picture as val/bees/3.jpg

split  | train, val or test; empty: whichever has the picture
change | drop: the picture is left out; label: its class becomes `value`
reason | for people; `xfer data check --fix FILE` writes it
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.images.jpeg_rows import Rows
from xfer.data.sources import base
from xfer.data.sources.base import subset
from xfer.errors import DataError, XferError, listed, nearest, reader
from xfer.files import text_of, write_text
from xfer.kinds.findings import counted
from xfer.types import Sample, Source

DROP, LABEL = "drop", "label"
ROLES = ("train", "val", "test")


@dataclass(frozen=True)
class Change:
    """One line of the file: see the module's text."""

    split: str
    id: str
    change: str
    value: str = ""
    reason: str = ""


def write_changes(path: Path, changes: Iterable[Change]) -> None:
    """Write the file, completely or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Change)])
    writer.writerows(astuple(change) for change in changes)
    write_text(path, text.getvalue())


@reader
def read_changes(path: Path) -> list[Change]:
    """Read the file. Raises DataError, naming the line, for what is no change."""
    try:
        text = text_of(path)
        head = text.partition("\n")[0]
        # spreadsheets of many countries write ; between cells
        between = ";" if ";" in head and "," not in head else ","
        lines = list(csv.reader(io.StringIO(text), delimiter=between, strict=True))
    except OSError as error:
        raise DataError(f"data.changes={path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.changes={path}: {error}") from None
    if not lines or not {"id", "change"} <= set(lines[0]):
        raise DataError(
            f"data.changes={path}: no header with id and change",
            "the first line: split,id,change,value,reason",
        )
    known = [field.name for field in fields(Change)]
    changes: list[Change] = []
    for number, cells in enumerate(lines[1:], 2):
        if not any(cells):
            continue
        row = dict(itertools.zip_longest(lines[0], cells[: len(lines[0])], fillvalue=""))
        change = Change(**{"split": "", **{k: row[k].strip() for k in known if k in row}})
        if change.change not in (DROP, LABEL) or not change.id:
            raise DataError(
                f"data.changes={path}, line {number}: {change.change!r} is not a change",
                "drop, or label with a class as value",
            )
        if change.change == LABEL and not change.value:
            raise DataError(f"data.changes={path}, line {number}: label without a class as value")
        changes.append(change)
    return changes


def apply_changes(
    path: Path, changes: Sequence[Change], splits: Mapping[str, Source]
) -> tuple[dict[str, Source], list[str]]:
    """The splits with the changes made, and lines for people.

    Raises: DataError for a class that does not exist, for a label where pictures have none or
        several, and if nothing of a split is left; XferError for an unknown split.
    """
    _check_once(path, changes)
    new = dict(splits)
    classes = dict.fromkeys(name for source in splits.values() for name in source.info.classes)
    found: set[Change] = set()
    dropped = relabelled = 0
    for role, source in splits.items():
        own = {c.id: c for c in changes if c.split in ("", role)}
        at = {i: own[name] for i, name in enumerate(source.ids) if name in own}
        found |= set(at.values())
        gone = [i for i, change in at.items() if change.change == DROP]
        labels = {i: change.value for i, change in at.items() if change.change == LABEL}
        if labels:
            new[role] = _relabelled(path, source, labels, list(classes))
        if gone:
            keep = np.setdiff1d(np.arange(len(source)), gone)
            if not len(keep):
                raise DataError(f"data.changes={path}: it drops every picture of {role}")
            new[role] = subset(new[role], keep)
        dropped, relabelled = dropped + len(gone), relabelled + len(labels)
    some = counted(dropped, "picture is", "pictures are")
    notes = [f"{path}: {some} dropped, {counted(relabelled, 'has', 'have')} another label"]
    met = {(change.split, change.id) for change in found}
    unknown = [change for change in changes if (change.split, change.id) not in met]
    wrong = next((c.split for c in unknown if c.split not in ("", *ROLES)), None)
    if wrong is not None:
        raise XferError(f"data.changes={path}: there is no split {wrong!r}", nearest(wrong, ROLES))
    # a split that is not used now, with --val none, is none of our business
    unknown = [change for change in unknown if not change.split or change.split in splits]
    if unknown:
        names = listed([change.id for change in unknown], 5)
        notes.append(f"warning: {path}: {len(unknown)} of its pictures are not there: {names}")
    return new, notes


def _check_once(path: Path, changes: Sequence[Change]) -> None:
    """Raises DataError for a picture with two changes that are not the same."""
    first: dict[str, list[Change]] = {}
    for one in changes:
        for other in first.setdefault(one.id, []):
            same_place = one.split == other.split or "" in (one.split, other.split)
            if same_place and (one.change, one.value) != (other.change, other.value):
                texts = [f"{c.change} {c.value}".strip() for c in (other, one)]
                raise DataError(
                    f"data.changes={path}: two changes of {one.id}: {' and '.join(texts)}",
                    "leave one of them",
                )
        first[one.id].append(one)


def _relabelled(
    path: Path, source: Source, labels: Mapping[int, str], classes: Sequence[str]
) -> Source:
    kind = kinds.get(source.info.kind)
    own = source.labels()
    if own.ndim != 1 or own.dtype != np.int64 or not kind.classes:
        raise DataError(
            f"data.changes={path}: labels are changed where each picture has one class; "
            f"these data hold {kind.holds}"
        )
    for value in labels.values():
        if value not in classes:
            raise DataError(
                f"data.changes={path}: there is no class {value!r}", nearest(value, classes)
            )
    names = tuple(dict.fromkeys((*source.info.classes, *labels.values())))
    return Relabelled(source, {i: names.index(value) for i, value in labels.items()}, names)


class Relabelled:
    """A source in which some pictures have another class.

    Args:
        source: one class per picture; labels: index of a picture -> its class index.
        classes: those of the source, and perhaps others after them.
    """

    def __init__(self, source: Source, labels: Mapping[int, int], classes: tuple[str, ...]) -> None:
        self.source, self.changed = source, dict(labels)
        self.info, self.ids = replace(source.info, classes=classes), source.ids
        self._labels: NDArray[np.int64] = source.labels().astype(np.int64)
        self._labels[list(self.changed)] = list(self.changed.values())

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Sample:
        return self._with(self.source[i], i)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i, decoded no larger than `short_side` asks for."""
        return self._with(base.read(self.source, i, short_side), i)

    def read_rows(self, i: int, short_side: int, rows: Rows | None) -> Sample:
        """Like `read`; rows that are not needed may be black."""
        return self._with(base.read(self.source, i, short_side, rows), i)

    def _with(self, sample: Sample, i: int) -> Sample:
        i = range(len(self))[i]
        return replace(sample, label=self.changed[i]) if i in self.changed else sample

    def labels(self) -> NDArray[np.int64]:
        return self._labels

    def verify(self, i: int) -> None:
        """Raises DataError if picture i can't be decoded."""
        base.verify(self.source, i)

    def stamp(self, i: int) -> str | None:
        """Text that changes with the file of picture i."""
        return base.stamp(self.source, i)

    def path(self, i: int) -> Path | None:
        """The file of picture i; None if it is not a file of its own."""
        return base.path_of(self.source, i)

    def raw(self, i: int) -> bytes | None:
        """Picture i as it is stored."""
        return base.raw(self.source, i)

    def stored(self) -> NDArray[np.int64]:
        """The indices in the order in which their pictures are stored."""
        return base.stored_order(self.source)

    def fingerprint(self) -> str:
        parts: list[Any] = [self.source.fingerprint(), sorted(self.changed.items())]
        return hashlib.sha256(repr(parts).encode()).hexdigest()
