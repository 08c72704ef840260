"""The same pictures as several kinds of data: what each part knows, in one sample."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.images.decode_error import DecodeError
from xfer.data.sources.base import (
    Bundle,
    path_of,
    raw,
    read,
    sample_label,
    stamp,
    stored_order,
    subset,
    verify,
)
from xfer.kinds.annotation import annotation
from xfer.kinds.base import PLUS
from xfer.kinds.joint import JointKind
from xfer.kinds.segment_stats import segments_of
from xfer.types import Sample, Source


class Together:
    """Several sources of the same pictures as one, of the joint kind.

    Args: parts: kind -> source; all hold the same pictures in the same order. The ids, and the
        pictures themselves, are those of the first with masks or segments, whose pictures are
        upright, else of the first with boxes, else of the first.
    """

    def __init__(self, parts: Mapping[str, Source], split: str = "") -> None:
        self.parts = dict(parts)
        about = {name: kinds.get(name) for name in self.parts}
        lead = max(about, key=lambda name: about[name].placed + (not about[name].boxes))
        self.lead = self.parts[lead]
        self._labels: dict[str, NDArray[Any]] = {}
        info = self.kind.join([part.info for part in self.parts.values()])
        own = self.lead.info
        self.info = replace(info, name=own.name, split=split or own.split, licence=own.licence)
        self.ids = self.lead.ids

    @property
    def kind(self) -> JointKind:
        return joint_kind(PLUS.join(self.parts))

    def __len__(self) -> int:
        return len(self.lead)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i with everything that the parts know; decodes the picture once."""
        sample = read(self.lead, i, short_side)
        for name, part in self.parts.items():
            if part is not self.lead:
                sample = self._with(sample, name, part, i)
        return sample

    def _with(self, sample: Sample, kind: str, part: Source, i: int) -> Sample:
        """The sample with what a part knows of the same picture, which is decoded again only if
        that can't be had alone."""
        about, size = kinds.get(kind), sample.image.shape[:2]
        if not about.placed:
            if kind not in self._labels:
                self._labels[kind] = part.labels()
            return replace(sample, label=sample_label(self._labels[kind][i]))
        if about.boxes and hasattr(part, "annotation"):
            boxes = annotation(part, i)
            if all(boxes.size) and tuple(boxes.size) != size:
                raise DecodeError(_sizes(kind, boxes.size, size), str(self.ids[i]))
            return replace(sample, boxes=boxes)
        if about.segments and hasattr(part, "read_segments"):
            segments = segments_of(part, i)
            if segments.size == size:
                return replace(sample, segments=segments)
        elif not about.segments and (reader := getattr(part, "read_mask", None)) is not None:
            mask = reader(i)
            if mask is not None and mask.shape == size:
                return replace(sample, mask=mask)
        known = read(part, i)
        if known.image.shape[:2] != size:
            raise DecodeError(_sizes(kind, known.image.shape[:2], size), str(self.ids[i]))
        truth = {
            name: getattr(known, name)
            for name in ("boxes", "mask", "segments") if getattr(known, name) is not None
        }  # fmt: skip
        return replace(sample, **truth)

    def labels(self) -> NDArray[np.int8]:
        parts = self.parts.values()
        return self.kind.join_rows([p.labels() for p in parts], [p.info for p in parts])

    def fingerprint(self) -> str:
        digests = [part.fingerprint() for part in self.parts.values()]
        return hashlib.sha256("\0".join([self.info.split, *digests]).encode()).hexdigest()

    def verify(self, i: int) -> None:
        """Raises DataError if picture i, or what is known of its pixels, can't be decoded."""
        for name, part in self.parts.items():
            if part is self.lead or kinds.get(name).placed:
                verify(part, i)

    def stamp(self, i: int) -> str | None:
        """Text that changes when the file of picture i does."""
        return stamp(self.lead, i)

    def path(self, i: int) -> Path | None:
        """The file of picture i; None if it is not a file of its own."""
        return path_of(self.lead, i)

    def raw(self, i: int) -> bytes | None:
        """Picture i as it is stored."""
        return raw(self.lead, i)

    def stored(self) -> NDArray[np.int64]:
        """Indices in the order in which the pictures lie on disk."""
        return stored_order(self.lead)

    def chosen(self, indices: Sequence[int] | NDArray[np.int64], split: str = "") -> Together:
        """Some of the samples, in this order."""
        parts = {name: subset(part, indices, split) for name, part in self.parts.items()}
        return Together(parts, split or self.info.split)


def joint_kind(name: str) -> JointKind:
    """The joint kind of that name, such as "classify+segment"."""
    kind = kinds.get(name)
    assert isinstance(kind, JointKind), f"{name} is one kind of data"
    return kind


def is_joint(name: str) -> bool:
    """Whether a kind's name is that of a joint kind."""
    return PLUS in name


def part_of(bundle: Bundle, kind: str) -> Bundle:
    """A bundle of a joint kind as one of its parts alone."""
    splits = {role: source.parts[kind] for role, source in bundle.splits.items()
              if isinstance(source, Together)}  # fmt: skip
    own = joint_kind(bundle.kind)
    classes = own.classes_of(kinds.get(kind), bundle.classes)
    return replace(bundle, kind=kind, classes=classes, splits=splits, findings=())


def _sizes(kind: str, own: Sequence[int], lead: Sequence[int]) -> str:
    return (
        f"for its {kinds.get(kind).holds} the picture is {own[1]} x {own[0]}, otherwise "
        f"{lead[1]} x {lead[0]}"
    )
