"""Specs read as several kinds of data, joined picture by picture.

A spec that can be read as each of the kinds is read once as each: COCO's json as boxes and as
masks. What it does not hold may come from further specs, `data.also`, about the same picture files:
a csv of labels beside a folder of masks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import kinds as kinds_of_data
from xfer.data.readers.base import COLUMNS, Reading, ReadOptions
from xfer.data.sources.base import path_of, subset
from xfer.data.sources.boxes_as_labels import Presence, without_masks
from xfer.data.spec import Opened, open_spec
from xfer.data.together import Together
from xfer.errors import DataError, XferError, listed
from xfer.kinds.base import PLUS
from xfer.kinds.findings import counted
from xfer.types import Source

SHOWN = 3  # pictures named in a line


@dataclass(frozen=True)
class _Read:
    """A spec read as one kind of data. main: it is the spec itself, not one of `also`."""

    spec: str
    kind: str
    opened: Opened
    parts: Mapping[str, Source]
    main: bool


def open_joint(spec: Any, options: ReadOptions, wanted: Sequence[str]) -> Opened:
    """Read specs as a joint kind of data.

    The splits are those of the reading that has most of them, the spec's own first. Pictures of
    which a kind of truth is not known are left out, and counted in a note.

    Args:
        spec, options: as for `open_spec`; path, label and split are for labels of whole pictures,
            each of `also` is asked before `spec` for what it holds.
        wanted: joint kinds of equal length, the first that the data can give is taken for each
            part: "classify+segment", "multilabel+segment".

    Raises: XferError or DataError if a kind of truth is not there, or is known for no picture of
        the others.
    """
    also = [one.strip() for one in options.also.split(",") if one.strip()]
    options = replace(options, also="")
    if isinstance(spec, Opened):
        spec = spec.spec
    if not isinstance(spec, str | os.PathLike):
        return _in_memory(open_spec(spec, options, wanted))
    places = [tuple(dict.fromkeys(names)) for names in _columns(wanted)]
    every = tuple(dict.fromkeys(name for names in places for name in names))
    options = replace(options, beside=every)
    if options.given and all(kinds_of_data.get(name).placed for name in every):
        raise XferError(f"data.{options.given[0]}: none of the heads learns labels of pictures")
    read = [_read(os.fspath(spec), options, names, also) for names in places]
    for extra in also:
        if all(one.spec != extra for one in read):
            raise XferError(f"data.also={extra}: it has none of {_words(places)}")
    if not any(one.main for one in read):
        raise XferError(f"{spec}: nothing is read from it: data.also has {_words(places)}",
                        f"--data {also[0]}, without data.also")  # fmt: skip
    lead = max(read, key=lambda one: (len(one.parts), one.main))
    notes = list(dict.fromkeys(note for one in read for note in one.opened.reading.notes))
    joined = {name: _join(name, source, lead, read, notes) for name, source in lead.parts.items()}
    parts: dict[str, Source] = {name: one for name, one in joined.items() if one is not None}
    if not parts:
        title = " and ".join(dict.fromkeys(one.opened.name for one in read))
        raise DataError(
            f"{title}: no picture has {_words(places)}",
            "what is joined must be about the same picture files",
        )
    skipped = dict.fromkeys(row for one in read for row in one.opened.reading.skipped)
    reading = Reading(parts, notes, list(skipped))
    own = [one.opened for one in read if one.main]
    # with several formats there is no single one to ask for again
    formats = PLUS.join(dict.fromkeys(one.format for one in own))
    return Opened(own[0].name, formats, reading, (), spec, options)


def _columns(wanted: Sequence[str]) -> list[tuple[str, ...]]:
    """The kinds wanted in each place of joint kinds."""
    return list(zip(*(name.split(PLUS) for name in wanted), strict=True))


def _words(places: Sequence[Sequence[str]]) -> str:
    return " and ".join(" or ".join(map(kinds_of_data.words, names)) for names in places)


def _in_memory(opened: Opened) -> Opened:
    """Data passed in Python. Raises XferError unless each split is a `Together`."""
    for name, part in opened.reading.parts.items():
        if not isinstance(part, Together):
            raise XferError(
                f"{opened.name}, {name}: {kinds_of_data.words(part.info.kind)} alone",
                "xfer.data.together.Together({kind: source, ...}) joins sources",
            )
    return opened


def _read(spec: str, options: ReadOptions, names: Sequence[str], also: Sequence[str]) -> _Read:
    """The first of `also`, else the spec itself, that can be read as one of these kinds. Raises
    DataError if none can."""
    about = kinds_of_data.get(names[0])
    if about.placed:  # the columns are of a table of labels
        options = replace(options, **dict.fromkeys(COLUMNS, ""))
    if not about.ignores:
        options = replace(options, ignore="")
    found = ""
    for one in (*also, spec):
        own = options if one == spec else replace(options, images="")
        opened = open_spec(one, own, names)
        parts = {name: as_wanted(part, names) for name, part in opened.reading.parts.items()}
        kinds = {part.info.kind for part in parts.values()}
        if len(kinds) == 1 and kinds <= set(names):
            return _Read(one, kinds.pop(), opened, parts, one == spec)
        found = " and ".join(map(kinds_of_data.words, sorted(kinds)))
    needs = " or ".join(map(kinds_of_data.words, names))
    raise DataError(
        f"{spec} holds {found}, and the heads need {needs}, too",
        "data.also=SPEC for what else is known of the same pictures: a csv of labels, a folder",
    )


def as_wanted(source: Source, wanted: Sequence[str]) -> Source:
    """The source as one of these kinds, if it holds more: objects with masks as boxes alone, boxes
    as the classes that occur."""
    source = without_masks(source, wanted)
    kind = kinds_of_data.get(source.info.kind)
    if kind.name not in wanted and kind.boxes and set(kind.also) & set(wanted):
        return Presence(source)
    return source


def _join(
    name: str, source: Source, lead: _Read, read: Sequence[_Read], notes: list[str]
) -> Together | None:
    """The pictures of a split that have every kind of label; None if no picture does."""
    kept = np.ones(len(source), bool)
    found: list[tuple[_Read, Source, NDArray[np.int64]]] = []
    for one in read:
        part, places = (source, np.arange(len(source)))
        if one is not lead:
            part, places = _partners(name, source, one)
        without = kept & (places < 0)
        if without.any():
            some = listed([str(source.ids[i]) for i in np.flatnonzero(without).tolist()], SHOWN)
            what = kinds_of_data.words(one.kind)
            notes.append(f"{name}: {counted(int(without.sum()), 'picture')} without {what}, left "
                         f"out: {some}")  # fmt: skip
        kept &= places >= 0
        found.append((one, part, places))
    if not kept.any():
        return None
    parts = {one.kind: subset(part, places[kept], name) for one, part, places in found}
    return Together(parts, source.info.split)


def _partners(name: str, source: Source, other: _Read) -> tuple[Source, NDArray[np.int64]]:
    """The split of another reading that has most of a source's pictures, and the place of each
    picture in it, -1 where it is not there. Pictures are the same if their files are, or, of those
    that have none, their ids."""
    own = _names(source)
    best, most = next(iter(other.parts.values())), np.full(len(source), -1)
    for part_name, part in other.parts.items():
        if part_name == name and part.ids == source.ids:
            return part, np.arange(len(source))
        places = {key: i for i, key in enumerate(_names(part))}
        there = np.array([places.get(key, -1) for key in own], np.int64)
        if (there >= 0).sum() > (most >= 0).sum():
            best, most = part, there
    return best, most


def _names(source: Source) -> list[str]:
    """The files of a source's pictures; the ids of those that are no files."""
    files = [path_of(source, i) for i in range(len(source))]
    return [str(source.ids[i]) if file is None else str(file.absolute())
            for i, file in enumerate(files)]  # fmt: skip
