"""What a data source is, and the bundle of splits that a spec opens to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from xfer.data.decode import decode
from xfer.registry import Registry
from xfer.types import DataInfo, Kind, Sample

ROLES = ("train", "val", "test")


@runtime_checkable
class Source(Protocol):
    """A split of a data set. Picklable; safe to read from several threads.

    info          | kind, classes, split
    ids           | (N,) stable names of the samples
    len, [i]      | the sample, decoded
    labels()      | int64 (N,), -1 unlabelled; multi-label: int8 (N, C); nothing is decoded
    fingerprint() | changes when the samples, their labels or their files do
    """

    info: DataInfo
    ids: Sequence[str]

    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> Sample: ...
    def labels(self) -> NDArray[Any]: ...
    def fingerprint(self) -> str: ...


class Pictures:
    """Picture files with a label each: what folders and csv files come to.

    Args:
        paths: N files; ids: N names; labels: int64 (N,) or int8 (N, C), None: unlabelled.
    """

    def __init__(
        self,
        info: DataInfo,
        paths: Sequence[Path],
        ids: Sequence[str],
        labels: NDArray[Any] | None = None,
    ) -> None:
        self.info = info
        self.paths = list(paths)
        self.ids = list(ids)
        self._labels = np.full(len(self.paths), -1, np.int64) if labels is None else labels

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """The sample, decoded no larger than `short_side` asks for (see `decode`)."""
        label = self._labels[i]
        return Sample(
            self.ids[i], decode(self.paths[i], short_side),
            int(label) if self._labels.ndim == 1 else label,
        )  # fmt: skip

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    def labels(self) -> NDArray[Any]:
        return self._labels

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, path in zip(self.ids, self.paths, strict=True):
            digest.update(f"{name}\0{path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
        digest.update(self._labels.tobytes())
        return digest.hexdigest()


class Subset:
    """Some samples of a source, in the order given."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source, self.indices = source, [int(i) for i in indices]
        self.info = source.info
        self.ids = [source.ids[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> Sample:
        return self.source[self.indices[i]]

    def read(self, i: int, short_side: int = 0) -> Sample:
        return read(self.source, self.indices[i], short_side)

    @property
    def paths(self) -> list[Path]:
        paths = getattr(self.source, "paths", [])
        return [paths[i] for i in self.indices] if paths else []

    def labels(self) -> NDArray[Any]:
        return self.source.labels()[self.indices]

    def fingerprint(self) -> str:
        listed = ",".join(map(str, self.indices))
        return hashlib.sha256(f"{self.source.fingerprint()} {listed}".encode()).hexdigest()


def read(source: Source, i: int, short_side: int = 0) -> Sample:
    """A sample; from sources that can, decoded no larger than needed."""
    reader = getattr(source, "read", None)
    return reader(i, short_side) if reader is not None else source[i]


@dataclass(frozen=True)
class Found:
    """What a format's `load` gives back.

    splits | by the names they have in the data: train, valid, all ...; "all" is one uncut set
    notes  | lines for the user: how it was read, what was skipped
    """

    kind: Kind
    classes: tuple[str, ...]
    splits: dict[str, Source]
    notes: tuple[str, ...] = ()


class Format(Protocol):
    """A data format: a class in a module of xfer.data, registered by decorator.

    recognise(path) -> a phrase that says what was seen there ("2 class folders"), or None
    load(path, name) -> Found; raises DataError for what can't be read
    """

    def recognise(self, path: Path) -> str | None: ...
    def load(self, path: Path, name: str) -> Found: ...


formats: Registry[Format] = Registry("data format", "xfer.data")


@dataclass(frozen=True)
class Bundle:
    """A data set, opened: its splits by the role they play.

    splits  | train, val, test: those that exist
    notes   | lines for the user: how it was read, how it was split, what was skipped
    skipped | (file, reason) of pictures that were left out on request
    """

    name: str
    format: str
    kind: Kind
    classes: tuple[str, ...]
    splits: dict[str, Source] = field(default_factory=dict[str, Source])
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    def fingerprint(self) -> str:
        """Changes when the samples, their labels, their files or their order do."""
        parts = [f"{role} {split.fingerprint()}" for role, split in self.splits.items()]
        return hashlib.sha256("\n".join([*parts, *self.classes]).encode()).hexdigest()

    def split_json(self) -> dict[str, list[str]]:
        """The ids of each split: what split.json holds."""
        return {role: list(split.ids) for role, split in self.splits.items()}
