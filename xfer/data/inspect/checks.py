"""What is odd in opened data, as far as no picture need be decoded to know it: for every format."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xfer.data.sources.base import Subset, path_of
from xfer.kinds.base import Kind
from xfer.kinds.findings import Finding, counted, named
from xfer.types import Source

# more files than this are not asked for their sizes whenever the data are opened: `xfer data check`
# reads all of them
MOST = 100_000
HEAD = 4096


@dataclass(frozen=True)
class Place:
    """A picture of opened data: its split, its index there, and its id."""

    role: str
    index: int
    id: str


def look(kind: Kind, splits: Mapping[str, Source], classes: Sequence[str]) -> list[Finding]:
    """What is odd in these splits (role -> source): pictures that are in several of them or have
    several labels, and what the kind of data finds."""
    return [*same_pictures(splits), *kind.find(splits, classes)]


def same_pictures(splits: Mapping[str, Source]) -> list[Finding]:
    """Files that are in several splits, copies of files across splits, and files with two labels.

    Compares sizes, and the bytes of files of equal size. Copies within a split and of one label
    are left to `xfer data check`.
    """
    if sum(map(len, splits.values())) > MOST:
        return []
    places = by_file(splits)
    files = [file for file in places if isinstance(file, str)]
    copies = [[places[file][0] for file in group] for group in _equal(files)]
    across = [group for group in copies if len({place.role for place in group}) > 1]
    return [*overlaps(list(places.values())), *copied(across, splits), *two_labels(copies, splits)]


def by_file(splits: Mapping[str, Source]) -> dict[object, list[Place]]:
    """The pictures of each file, by its absolute path as text; a picture that is not a file of its
    own is known by its source and its place there."""
    places: dict[object, list[Place]] = defaultdict(list)
    for role, source in splits.items():
        inner, indices = source, range(len(source))
        if isinstance(source, Subset):
            inner, indices = source.source, source.indices.tolist()
        for i, k in enumerate(indices):
            path = path_of(inner, k)
            file = (id(inner), k) if path is None else os.path.normpath(path.absolute())
            places[file].append(Place(role, i, source.ids[i]))
    return places


def overlaps(groups: Sequence[Sequence[Place]]) -> list[Finding]:
    """For groups of entries of the same file: those that are in several splits."""
    found: dict[tuple[str, ...], list[Sequence[Place]]] = defaultdict(list)
    for group in groups:
        roles = tuple(dict.fromkeys(place.role for place in group))
        if len(roles) > 1:
            found[roles].append(group)
    return [
        Finding(
            "overlap",
            f"{counted(len(of), 'picture')} {'is' if len(of) == 1 else 'are'} both in "
            f"{' and '.join(roles)}: {named(group[0].id for group in of)}",
            tuple(tuple(dict.fromkeys(place.id for place in group)) for group in of),
        )
        for roles, of in found.items()
    ]


def copied(groups: Sequence[Sequence[Place]], splits: Mapping[str, Source]) -> list[Finding]:
    """For groups of equal pictures that are in several splits."""
    if not groups:
        return []
    order = list(splits)
    pairs: list[str] = []
    extra = 0
    for group in groups:
        first = min(group, key=lambda place: order.index(place.role))
        others = [place for place in group if place.role != first.role]
        extra += len(others)
        pairs += [f"{place.id} ({place.role}) = {first.id} ({first.role})" for place in others]
    return [
        Finding(
            "copy",
            f"{counted(extra, 'picture is a copy', 'pictures are copies')} of a picture in another "
            f"split, byte for byte: {named(pairs)}",
            tuple(tuple(place.id for place in group) for group in groups),
        )
    ]


def two_labels(groups: Sequence[Sequence[Place]], splits: Mapping[str, Source]) -> list[Finding]:
    """For groups of equal pictures: those whose labels differ."""
    labels = {role: source.labels() for role, source in splits.items()}
    twice = [
        group for group in groups
        if any(
            not np.array_equal(labels[group[0].role][group[0].index], labels[p.role][p.index])
            for p in group[1:]
        )
    ]  # fmt: skip
    if not twice:
        return []
    pairs = [" = ".join(dict.fromkeys(place.id for place in group)) for group in twice]
    what = counted(len(twice), "picture has", "pictures have")
    return [
        Finding(
            "two_labels",
            f"{what} different labels in copies that are equal byte for byte: {named(pairs)}",
            tuple(tuple(place.id for place in group) for group in twice),
        )
    ]


def _equal(files: Sequence[str]) -> list[list[str]]:
    """Groups of two or more files with the same bytes."""
    groups: list[list[str]] = [list(files)]
    for key in (_size, _head, _digest):
        finer: list[list[str]] = []
        for group in groups:
            by_key: dict[object, list[str]] = defaultdict(list)
            for file in group:
                try:
                    by_key[key(file)].append(file)
                except OSError:
                    continue
            finer += [same for same in by_key.values() if len(same) > 1]
        groups = finer
    return groups


def _size(file: str) -> int:
    state = Path(file).stat()
    if not stat.S_ISREG(state.st_mode) or not state.st_size:
        raise OSError(f"{file}: not a file with content")
    return state.st_size


def _head(file: str) -> bytes:
    with Path(file).open("rb") as stream:
        return stream.read(HEAD)


def _digest(file: str) -> bytes:
    with Path(file).open("rb") as stream:
        return hashlib.file_digest(stream, hashlib.blake2b).digest()
