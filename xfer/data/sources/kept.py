"""The pictures of an earlier run's split, found again in data that may have changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xfer.data.sources.base import Drift, subset
from xfer.data.sources.marks import MOST, UNKNOWN, marks
from xfer.errors import DataError
from xfer.kinds.findings import counted
from xfer.types import Source


@dataclass(frozen=True)
class Kept:
    """A split to find again.

    splits  | split.json of the run: role -> ids, or {"images": n, "fingerprint": hex}
    role    | which of them
    ignored | names of pictures that the run left out, so that they are not new
    whole   | whether the run used all pictures; otherwise those that it did not use look new
    marks   | role -> number of each picture's bytes, see `xfer.data.sources.marks`; may be empty
    """

    splits: Mapping[str, Any]
    role: str
    ignored: frozenset[str] = frozenset()
    whole: bool = True
    marks: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])


def difference(kept: Mapping[str, Any], splits: Mapping[str, Source]) -> str:
    """How the pictures of all splits differ from those in a run's split.json, in words: "3 new
    pictures, 1 gone"; empty if they have the same names or that can't be told."""
    if not all(isinstance(ids, list) for ids in kept.values()):
        return ""
    before = {name for ids in kept.values() for name in ids}
    now = {name for source in splits.values() for name in source.ids}
    new, gone = len(now - before), len(before - now)
    parts = [counted(new, "new picture")] if new else []
    return ", ".join([*parts, *([f"{gone:,} gone"] if gone else [])])


def find_again(title: str, splits: Mapping[str, Source], kept: Kept) -> tuple[Source, Drift]:
    """The pictures of a run's split in these splits, in the run's order, and what has changed.

    Args: splits: role -> source, before a val split is split off.

    Raises: DataError if none of them is there.
    """
    wanted: list[str] = kept.splits[kept.role]
    role, places = _home(splits, kept)
    source = splits[role]
    gone = [name for name in wanted if name not in places]
    listed = {name for ids in kept.splits.values() if isinstance(ids, list) for name in ids}
    new = [name for name in places if name not in listed]
    moved, known = _moved(kept, gone, new, source, places)
    if len(gone) == len(wanted) and not moved:
        raise DataError(
            f"{title}: none of the {len(wanted)} pictures of {kept.role} is there any more, "
            f"first {wanted[0]}",
            "put them back, or give the data to score: --data SPEC",
        )
    now = [moved.get(name, name) for name in wanted if name in places or name in moved]
    told = kept.whole and (role == kept.role or isinstance(kept.splits.get(role, []), list))
    gone = [name for name in gone if name not in moved]
    others = {name for r, other in splits.items() if r != role for name in other.ids}
    # a name that the run had in several splits may mean another picture there
    others -= {name for r, ids in kept.splits.items() if r != kept.role and isinstance(ids, list)
               for name in ids}  # fmt: skip
    drift = Drift(
        tuple(name for name in gone if name not in others),
        tuple(n for n in new if n not in {*known, *kept.ignored}) if told else None,
        tuple(moved.items()),
        tuple(name for name in gone if name in others),
    )
    return subset(source, [places[name] for name in now], kept.role), drift


def _home(splits: Mapping[str, Source], kept: Kept) -> tuple[str, dict[str, int]]:
    """The split that holds most of the pictures, the one of the same role first; and its ids with
    their places. A name that the run had in another split too may mean another picture there."""
    wanted = set(kept.splits[kept.role])
    others = {role: ids for role, ids in kept.splits.items() if role != kept.role}
    elsewhere = {name for ids in others.values() if isinstance(ids, list) for name in ids}
    best: tuple[int, str, dict[str, int]] = (-1, "", {})
    for role in sorted(splits, key=lambda role: role != kept.role):
        places = {name: i for i, name in enumerate(splits[role].ids)}
        here = wanted if role == kept.role else wanted - elsewhere
        count = len(here & places.keys())
        if count > best[0]:
            best = (count, role, places)
    return best[1], best[2]


def _moved(
    kept: Kept, gone: Sequence[str], new: Sequence[str], source: Source, places: Mapping[str, int]
) -> tuple[dict[str, str], set[str]]:
    """Id in the run -> id now, of pictures that are gone while a new one has the same bytes, and no
    other picture of the run has; and all of the new ids whose pictures the run had."""
    own = kept.marks.get(kept.role)
    if own is None or not gone or not new or len(new) > MOST:
        return {}, set()
    twice = _twice(np.concatenate(list(kept.marks.values())))
    known = {name: int(n) for name, n in zip(kept.splits[kept.role], own, strict=True)}
    now: dict[int, list[str]] = {}
    for name, n in zip(new, marks(subset(source, [places[n] for n in new])).tolist(), strict=True):
        now.setdefault(n, []).append(name)
    pairs = {
        name: now.get(known[name], []) for name in gone if known[name] not in (UNKNOWN, *twice)
    }
    had = set(np.concatenate(list(kept.marks.values())).tolist()) - {UNKNOWN}
    renamed = {name for n, names in now.items() if n in had for name in names}
    return {name: found[0] for name, found in pairs.items() if len(found) == 1}, renamed


def _twice(numbers: np.ndarray) -> set[int]:
    values, counts = np.unique(numbers, return_counts=True)
    return set(values[counts > 1].tolist())
