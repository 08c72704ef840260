"""Views of a source, sources in memory, and the bundle of splits that a run works on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.images.decode import shrink
from xfer.data.images.jpeg_rows import Rows
from xfer.data.sources.id_array import choose
from xfer.kinds.annotation import annotation
from xfer.kinds.base import Kind
from xfer.kinds.box_stats import EveryBox, every_box
from xfer.kinds.findings import Finding
from xfer.kinds.pixel_counts import mask_of, pixel_counts_of
from xfer.kinds.segment_stats import segments_of
from xfer.notebook.objects import data_card
from xfer.objects.segments import Segments
from xfer.types import IGNORE, DataInfo, Sample, Source

LISTED = 200_000


class Subset:
    """Some samples of a source, in a given order, perhaps under other class indices.

    Args:
        source: the source to read from.
        indices: which of its samples, in which order.
        split: the name of the resulting split; default: the source's.
        classes: other class names or another order; `table` then maps the old classes to them.
        table: int64 (old classes,), the new index of each old class.
    """

    def __init__(
        self,
        source: Source,
        indices: Sequence[int] | NDArray[np.int64],
        *,
        split: str = "",
        classes: tuple[str, ...] | None = None,
        table: NDArray[np.int64] | None = None,
    ) -> None:
        self.source = source
        self.indices = np.asarray(indices, dtype=np.int64).reshape(-1)
        self.table = table
        own = source.info
        names, things = classes or own.classes, own.things
        if things and table is not None:
            moved = dict(zip(own.classes, table.tolist(), strict=True))
            things = tuple(names[moved[name]] for name in things if moved[name] >= 0)
        self.info = replace(own, split=split or own.split, classes=names, things=things)
        self.ids = choose(source.ids, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i, its picture no larger than `short_side` asks for."""
        return self.read_rows(i, short_side, None)

    def read_rows(self, i: int, short_side: int, rows: Rows | None) -> Sample:
        """Like `read`; rows that are not needed may be black."""
        sample = read(self.source, int(self.indices[i]), short_side, rows)
        if self.table is None:
            return sample
        return self.kind.relabel(sample, self.table, len(self.info.classes))

    def labels(self) -> NDArray[np.int64] | NDArray[np.int8]:
        labels = self.source.labels()[self.indices]
        if self.table is None:
            return labels
        return self.kind.relabel_labels(labels, self.table, len(self.info.classes))

    @property
    def kind(self) -> Kind:
        return kinds.get(self.info.kind)

    def pixel_counts(self, i: int) -> NDArray[np.int64]:
        """(C + 1,) pixels of each class in mask i; the last entry counts ignored pixels."""
        own = pixel_counts_of(self.source, int(self.indices[i]))
        if self.table is None:
            return own
        counts = np.zeros(len(self.info.classes) + 1, np.int64)
        np.add.at(counts, np.append(self.table, -1), own)
        return counts

    def read_mask(self, i: int) -> NDArray[np.uint8] | None:
        """The mask of picture i, without decoding the picture if the source can."""
        reader = getattr(self.source, "read_mask", None)
        if reader is None:
            return mask_of(self[i])
        mask = reader(int(self.indices[i]))
        if self.table is None or mask is None:
            return mask
        look_up = np.full(256, IGNORE, np.uint8)
        look_up[: len(self.table)] = self.table
        return look_up[mask]

    def read_segments(self, i: int) -> Segments:
        """The segments of picture i, without decoding the picture if the source can."""
        own = segments_of(self.source, int(self.indices[i]))
        return own if self.table is None else own.relabelled(self.table)

    def verify(self, i: int) -> None:
        """Raises DataError if picture i can't be decoded."""
        verify(self.source, int(self.indices[i]))

    def stamp(self, i: int) -> str | None:
        """Text that changes when the file of picture i does, see `stamp`."""
        return stamp(self.source, int(self.indices[i]))

    def path(self, i: int) -> Path | None:
        """The file of picture i, see `path_of`."""
        return path_of(self.source, int(self.indices[i]))

    def raw(self, i: int) -> bytes | None:
        """Picture i as it is stored, see `raw`."""
        return raw(self.source, int(self.indices[i]))

    def annotation(self, i: int) -> Boxes:
        """The boxes of picture i, without decoding it if the source can."""
        boxes = annotation(self.source, int(self.indices[i]))
        return boxes if self.table is None else boxes.relabelled(self.table)

    def every_box(self) -> EveryBox:
        """All boxes of all pictures; see `xfer.kinds.box_stats.every_box`."""
        own = every_box(self.source).chosen(self.indices)
        return own if self.table is None else own.relabelled(self.table)

    def fingerprint(self) -> str:
        parts = [self.source.fingerprint(), self.info.split, *self.info.classes]
        digest = hashlib.sha256("\0".join(parts).encode())
        digest.update(self.indices.astype("<i8").tobytes())
        return digest.hexdigest()


def is_streamed(source: Source) -> bool:
    """Whether a source has no pictures by number, but comes in sequence."""
    return getattr(source, "shards", None) is not None


def subset(source: Source, indices: Sequence[int] | NDArray[np.int64], split: str = "") -> Source:
    """Some samples of a source. A subset of a subset reads the first source directly; a source
    that makes subsets of its own (`chosen`) is asked for one."""
    chosen: Any = getattr(source, "chosen", None)
    if callable(chosen):
        own: Any = chosen(indices, split)
        return own
    if isinstance(source, Subset):
        return Subset(
            source.source, source.indices[np.asarray(indices, np.int64)],
            split=split or source.info.split, classes=source.info.classes, table=source.table,
        )  # fmt: skip
    return Subset(source, indices, split=split)


def read(source: Source, i: int, short_side: int = 0, rows: Rows | None = None) -> Sample:
    """Sample i of a source, its picture shrunk to `short_side` if it is larger (0: unchanged).

    Args: rows: (height, width) -> how many rows from the top are needed; to save time, a source may
        leave those below black.
    """
    if rows is not None and hasattr(source, "read_rows"):
        return source.read_rows(i, short_side, rows)  # pyright: ignore[reportAttributeAccessIssue]
    reader = getattr(source, "read", None)
    if reader is not None:
        return reader(i, short_side)
    sample = source[i]
    if any(known is not None for known in (sample.boxes, sample.mask, sample.segments)):
        return sample  # these are in the picture's own pixels
    return replace(sample, image=shrink(sample.image, short_side))


def verify(source: Source, i: int) -> None:
    """Raises DataError, saying what is wrong, if picture i of a source can't be decoded."""
    check = getattr(source, "verify", None)
    if check is not None:
        check(i)
    else:
        source[i]


def stored_order(source: Source) -> NDArray[np.int64]:
    """Indices of a source in the order in which its pictures are stored on disk, if it is known."""
    if isinstance(source, Subset):
        places = np.empty(len(source.source), np.int64)
        places[stored_order(source.source)] = np.arange(len(places))
        return np.argsort(places[source.indices], kind="stable")
    stored = getattr(source, "stored", None)
    return np.arange(len(source)) if stored is None else stored()


def stamp(source: Source, i: int) -> str | None:
    """Text that changes when the file of picture i does; None if the source has no files."""
    mark = getattr(source, "stamp", None)
    return None if mark is None else mark(i)


def path_of(source: Source, i: int) -> Path | None:
    """The file of picture i; None if it is not a file of its own."""
    find = getattr(source, "path", None)
    return None if find is None else find(i)


def raw(source: Source, i: int) -> bytes | None:
    """Picture i as it is stored, encoded; None if the source keeps pixels, not files.

    Raises: OSError if its file is gone.
    """
    reader: Any = getattr(source, "raw", None)
    if not callable(reader):  # a pack's `raw` says what it stores
        return None
    stored: Any = reader(i)
    return stored


class ArraySource:
    """Pictures in memory.

    images | uint8 (N, H, W, 3), RGB, or N arrays (H, W, 3) of any sizes
    labels | int64 (N,) or int8 (N, C), as in `Source`
    ids    | N names
    """

    def __init__(
        self,
        info: DataInfo,
        images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        labels: NDArray[np.int64] | NDArray[np.int8],
        ids: Sequence[str],
    ) -> None:
        self.info = info
        self.images = images
        self.ids = tuple(ids)
        self._labels = labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Sample:
        return Sample(self.ids[i], self.images[i], sample_label(self._labels[i]))

    def labels(self) -> NDArray[np.int64] | NDArray[np.int8]:
        return self._labels

    def fingerprint(self) -> str:
        digest = hashlib.sha256("\0".join([*self.ids, *self.info.classes]).encode())
        digest.update(np.ascontiguousarray(self._labels).tobytes())
        for image in self.images:
            digest.update(np.ascontiguousarray(image).tobytes())
        return digest.hexdigest()


def sample_label(label: Any) -> Any:
    """A row of `labels()` as a Sample carries it: an int, a row of int8, or None if unlabelled; for
    numbers a float, or None for nan."""
    if isinstance(label, np.ndarray):
        return label
    if isinstance(label, np.floating):
        return None if np.isnan(label) else float(label)
    return None if label < 0 else int(label)


@dataclass(frozen=True)
class Drift:
    """What became of a split that a run kept.

    gone  | ids that are no longer there
    new   | ids that the run did not have, among the pictures that the split comes from; None if
          | that can't be told
    moved | (id in the run, id now) of pictures that have another name, known by their bytes
    elsewhere | ids that are in another split of the data now
    """

    gone: tuple[str, ...] = ()
    new: tuple[str, ...] | None = ()
    moved: tuple[tuple[str, str], ...] = ()
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Bundle:
    """The splits that a run works on, and where they come from.

    name    | what the user called the data
    format  | the format it was read as: folder, csv, digits, ...
    kind    | classify, multilabel, detect, segment, images
    classes | class names; a label is an index into them, the same in every split
    splits  | role -> Source, for those of train, val and test that exist
    notes   | lines for people: how it was read, what was skipped, which split was split off
    skipped | (file, reason) of each picture that was left out
    findings | what is odd in it, as far as no picture need be decoded to know it
    drift   | what has changed since the run whose split was found again; None if none was
    """

    name: str
    format: str
    kind: str
    classes: tuple[str, ...]
    splits: dict[str, Source]
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()
    drift: Drift | None = None

    def fingerprint(self) -> str:
        """Hex text that changes with the pictures, the labels or how they are split."""
        parts = [self.kind, *self.classes]
        for role, source in sorted(self.splits.items()):
            parts += [role, source.fingerprint()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def __repr__(self) -> str:
        splits = ", ".join(f"{role} {len(source):,}" for role, source in self.splits.items())
        classes = f"{len(self.classes):,} classes; " if self.classes else ""
        holds = kinds.words(self.kind)
        return f"<data {self.name}: {holds}; {classes}pictures: {splits}; read as {self.format}>"

    def _repr_html_(self) -> str:
        splits = {role: len(source) for role, source in self.splits.items()}
        return data_card(self.name, kinds.words(self.kind), self.format, splits, self.classes,
                         self.notes)  # fmt: skip

    def split_json(self) -> dict[str, Any]:
        """The ids of each split, which a run keeps as split.json. For a split of more than LISTED
        pictures {"images": n, "fingerprint": hex}: a million ids would be 50 MB per run, and the
        recipe's seed gives the same split again."""
        return {
            role: list(source.ids) if len(source) <= LISTED and not is_streamed(source)
            else {"images": len(source), "fingerprint": source.fingerprint()}
            for role, source in self.splits.items()
        }  # fmt: skip
