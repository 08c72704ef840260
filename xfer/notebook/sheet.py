"""`xfer.show(data)`: a few pictures of any data with what is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xfer import kinds, plugs
from xfer.data.open import open_data
from xfer.data.sources.base import Bundle, read
from xfer.drawing.mosaic import Tile, mosaic
from xfer.errors import DataError, XferError, nearest
from xfer.kinds.base import Kind
from xfer.kinds.findings import counted
from xfer.notebook.card import card, soft
from xfer.notebook.pictures import MOST, SIDE, figure, sheet, unread
from xfer.report.markup import Markup
from xfer.types import Sample, Source


@dataclass(frozen=True, repr=False)
class Sheet:
    """Some pictures of a split, with their labels, boxes or masks.

    bundle | the data; split: which of its splits; indices: of the pictures in it
    """

    bundle: Bundle
    split: str
    indices: tuple[int, ...]

    @property
    def source(self) -> Source:
        return self.bundle.splits[self.split]

    @property
    def kind(self) -> Kind:
        return kinds.get(self.bundle.kind)

    def samples(self) -> list[Sample | DataError]:
        """The samples; where one can't be read, the error."""
        return [_sample(self.source, i, self.kind) for i in self.indices]

    def save(self, path: Path | str) -> Path:
        """Writes the sheet as PNG, and returns its path."""
        tiles: list[Tile] = []
        for sample in self.samples():
            if isinstance(sample, Sample):
                image = self.kind.pictured(sample, self.bundle.classes, SIDE)
                lines = (self.kind.caption(sample, self.bundle.classes),)
                tiles.append(Tile(image, lines, name=sample.id))
        if not tiles:
            raise DataError(f"{self.bundle.name}: none of these pictures can be read")
        mosaic(tiles, Path(path), self._title())
        return Path(path)

    def _title(self) -> str:
        of = counted(len(self.source), "picture")
        return f"{self.bundle.name}, {self.split}: {len(self.indices)} of {of}"

    def __repr__(self) -> str:
        holds = self.kind.holds
        return f"<{self._title()}, {holds}; .save(FILE.png) writes them>"

    def _repr_html_(self) -> str:
        classes = self.bundle.classes
        figures: list[Markup] = []
        for i, sample in zip(self.indices, self.samples(), strict=True):
            if isinstance(sample, DataError):
                figures.append(unread(str(self.source.ids[i]), sample.message))
                continue
            image = self.kind.pictured(sample, classes, SIDE)
            caption = self.kind.caption(sample, classes)
            figures.append(figure(image, [caption] if caption else [], sample.id))
        named = f"{counted(len(classes), 'class', 'classes')}" if classes else ""
        splits = ", ".join(f"{role} {len(s):,}" for role, s in self.bundle.splits.items())
        words = "; ".join(part for part in (self.kind.holds, named, f"pictures: {splits}") if part)
        return card(self._title(), soft(words), sheet(figures, self.kind.legend(classes)))


@plugs.face("data")
def show(
    data: Any,
    *,
    n: int = 12,
    split: str = "",
    classes: str | Sequence[str] = (),
    shuffle: bool = False,
    seed: int = 0,
    trust: str | Sequence[str] = (),
    **data_keys: Any,
) -> Sheet:
    """Shows pictures of data with what is known about them: labels, boxes or masks.

    In a notebook the result shows itself; elsewhere `xfer.show(data).save("sheet.png")`.

    Args:
        data: a spec: NAME, PATH or FORMAT:PATH; or data in memory, as for `finetune`.
        n: how many pictures, at most 24; they are spread over the split.
        split: train, val or test; the first of them by default.
        classes: only pictures in which one of these is known to occur.
        shuffle: draw them at random, from `seed`, instead.
        trust: modules that may be imported besides that which data names.
        data_keys: images, ignore, path, label, train, val, test, ..., as in `open_data`.

    Raises: DataError for data that can't be read; XferError for a split or class that is not there.
    """
    if not 1 <= n <= MOST:
        hint = f"n={min(max(n, 1), MOST)}"
        raise XferError(f"n={n}: from 1 to {MOST} pictures can be shown", hint)
    bundle = open_data(data, **{"check": False, "cut": False, "find": False, "skip_bad": True,
                                **data_keys})  # fmt: skip
    split = split or next(iter(bundle.splits))
    if split not in bundle.splits:
        raise XferError(f"{bundle.name}: no split {split!r}", f"it has {', '.join(bundle.splits)}")
    places = _with_classes(bundle, split, [classes] if isinstance(classes, str) else list(classes))
    if shuffle:
        chosen = np.random.default_rng(seed).permutation(places)[:n]
    else:
        chosen = places[np.unique(np.linspace(0, len(places) - 1, min(n, len(places))).astype(int))]
    return Sheet(bundle, split, tuple(chosen.tolist()))


def _with_classes(bundle: Bundle, split: str, names: Sequence[str]) -> np.ndarray:
    """The indices of the pictures that are known to hold one of these classes; no names: all."""
    source = bundle.splits[split]
    if not names or names == [""]:
        return np.arange(len(source))
    unknown = next((name for name in names if name not in bundle.classes), None)
    if unknown is not None:
        raise XferError(f"{bundle.name}: no class {unknown!r}", nearest(unknown, bundle.classes))
    wanted = [bundle.classes.index(name) for name in names]
    labels = source.labels()
    has = np.isin(labels, wanted) if labels.ndim == 1 else (labels[:, wanted] == 1).any(1)
    if not has.any():
        raise XferError(f"{bundle.name}, {split}: no picture is known to hold {' or '.join(names)}")
    return np.flatnonzero(has)


def _sample(source: Source, i: int, kind: Kind) -> Sample | DataError:
    """A sample, its picture no larger than needed; the error of one that can't be read."""
    try:
        return read(source, i, 0 if kind.placed else SIDE)
    except DataError as error:
        return error
