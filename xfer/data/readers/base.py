"""The contract of a data format: a module of xfer.data.readers that registers itself.

A new format is one file here: a class with `recognise` and `load` under `@FORMATS.register(name)`.
A set that comes with xfer is a class with `kinds` and `load` under `@EMBEDDED.register(name)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from xfer import kinds
from xfer.errors import listed
from xfer.registry import Registry
from xfer.types import Source


@dataclass(frozen=True)
class Reading:
    """What a format read.

    parts   | split name as found (train, valid, ..., or "all" if not split) -> Source; the
            | sources' classes may differ: they are matched by name later
    notes   | lines for people
    skipped | (file, reason) of what was left out on request
    unused  | (what it is: one, several) -> names of what was found but is not used, see `leave`
    """

    parts: dict[str, Source]
    notes: list[str] = field(default_factory=list[str])
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    unused: dict[tuple[str, str], list[str]] = field(
        default_factory=dict[tuple[str, str], list[str]]
    )

    def leave(self, one: str, many: str, names: Iterable[str]) -> None:
        """Record what was found but is not used: "column", "columns", ["fold"]."""
        if names := list(names):
            self.unused.setdefault((one, many), []).extend(names)

    def unused_line(self) -> str | None:
        """What is not used, in one line: "not used: 1 column (fold), 2 lists (a.txt, b.txt)"."""
        counts = [
            f"{len(names)} {one if len(names) == 1 else many} ({listed(names, 5)})"
            for (one, many), names in self.unused.items()
        ]
        return f"not used: {', '.join(counts)}" if counts else None

    @property
    def labelled(self) -> bool:
        """Whether any part has labels."""
        return any(kinds.get(source.info.kind).labelled for source in self.parts.values())


COLUMNS = ("path", "label", "split")


@dataclass(frozen=True)
class ReadOptions:
    """The user's options for reading.

    named    | names of splits, to help find them
    skip_bad | leave out rows, boxes and files that can't be used, and record them
    kind     | the kind to read the data as, one of the format's kinds; "": its first
    images   | the folder that holds the pictures; "": found
    ignore   | masks: the classes whose pixels are ignored, names or values; "": by their names
    path     | the column that names the pictures; "": found
    label    | the column of the labels, several separated by commas, or whatever else a format
             | finds them by (from_name); "": found
    split    | the column that says which split a picture belongs to; "": found
    verify   | compare the checksums of packs and of kept indexes
    also     | further specs, separated by commas, see `xfer.data.joining`
    beside   | the kinds that the same pictures are read as, one after the other, if it is several
    """

    named: tuple[str, ...] = ()
    skip_bad: bool = False
    kind: str = ""
    images: str = ""
    ignore: str = ""
    path: str = ""
    label: str = ""
    split: str = ""
    verify: bool = True
    also: str = ""
    beside: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[str, ...]:
        """Which of path, label and split the user named."""
        return tuple(name for name in COLUMNS if getattr(self, name))


class Format(Protocol):
    """How data are stored on disk.

    kinds               | the kinds it can be read as; the first by default
    low_priority        | True: used only if no other format recognises the same path
    takes_images        | True: its pictures may be in another folder, `options.images`
    fixed_kind          | optional; True: the default kind is always the first of `kinds`, so it is
                        | known without reading the data
    takes               | optional; which of the options path, label and split it understands
    recognise(path)     | what was found, in words, or None; quick: reads as little as possible
    load(path, options) | Reading; raises DataError for what can't be used
    explain(path)       | optional; for a path that no format recognises: the error that says why
                        | this one does not, or None
    """

    kinds: ClassVar[tuple[str, ...]]
    low_priority: ClassVar[bool]
    takes_images: ClassVar[bool]

    def recognise(self, path: Path) -> str | None: ...
    def load(self, path: Path, options: ReadOptions) -> Reading: ...


class Embedded(Protocol):
    """A set that comes with xfer: read as one of `kinds`, by default the first."""

    kinds: ClassVar[tuple[str, ...]]

    def load(self, options: ReadOptions) -> Reading: ...


FORMATS: Registry[type[Format]] = Registry("data format", "xfer.data.readers", "xfer.readers")
EMBEDDED: Registry[type[Embedded]] = Registry("data set", "xfer.data.readers")


def choose_kind(kinds: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first of `kinds` that is among `wanted` (the first of all if that is empty), or None."""
    return next((kind for kind in kinds if not wanted or kind in wanted), None)
