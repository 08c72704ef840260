"""What is odd in masks, for every format: values along borders only, specks, absent classes.

A mask that was scaled with interpolation, or saved with anti-aliased edges, holds values between
those of two regions, along their border and nowhere else: they are no classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, listed
from xfer.kinds.findings import Finding, counted, finding, named
from xfer.kinds.mask_regions import odd_regions
from xfer.kinds.pixel_counts import mask_of, pixel_counts
from xfer.types import IGNORE, Source

Mask = NDArray[np.uint8]
FEW = 12  # masks of a split that are looked at whenever data are opened
MANY = 400  # ... by `xfer data check`
REACH = 2  # pixels to either side in which the regions of a border lie
THIN = 0.1  # a class that has a smaller share of inner pixels may be a border
SOLID = 0.4  # a class that has a larger one is a region
BETWEEN = 0.9  # of a border's pixels that lie between two regions
LEAST = 8  # pixels of a class that say something


def masks_of(source: Source, most: int) -> Iterator[tuple[int, Mask]]:
    """(index, mask) of evenly chosen samples; those that can't be read are left out."""
    reader: Any = getattr(source, "read_mask", None)
    places = np.unique(np.linspace(0, len(source) - 1, min(most, len(source))).astype(int))
    for i in places.tolist():
        try:
            mask = mask_of(source[i]) if reader is None else reader(i)
        except DataError:
            continue
        if mask is not None:
            yield i, mask


def border_classes(masks: Sequence[Mask], classes: int) -> list[int]:
    """The classes whose pixels lie along the borders between other classes, and nowhere else."""
    total = np.zeros(IGNORE + 1, np.int64)
    inner = np.zeros(IGNORE + 1, np.int64)
    for mask in masks:
        total += np.bincount(mask.ravel(), minlength=IGNORE + 1)
        inner += np.bincount(mask[_inside(mask)], minlength=IGNORE + 1)
    share = inner / np.maximum(total, 1)
    thin = np.flatnonzero((total[:classes] >= LEAST) & (share[:classes] < THIN))
    solid = np.zeros(IGNORE + 1, bool)
    solid[:classes] = share[:classes] > SOLID
    if not len(thin) or solid.sum() < 2:
        return []
    between = np.zeros(IGNORE + 1, np.int64)
    for mask in masks:
        for label in np.intersect1d(thin, np.unique(mask)).tolist():
            between[label] += _between(mask, mask == label, solid)
    return [int(k) for k in thin if between[k] >= BETWEEN * total[k]]


def _inside(mask: Mask) -> NDArray[np.bool_]:
    """Whether the pixels above, below, left and right are of the same class."""
    same = np.ones(mask.shape, bool)
    same[1:] &= mask[1:] == mask[:-1]
    same[:-1] &= mask[:-1] == mask[1:]
    same[:, 1:] &= mask[:, 1:] == mask[:, :-1]
    same[:, :-1] &= mask[:, :-1] == mask[:, 1:]
    return same


def _between(mask: Mask, which: NDArray[np.bool_], solid: NDArray[np.bool_]) -> int:
    """How many of some pixels have two solid classes or more near them."""
    wide = np.pad(mask, REACH, mode="edge")
    rows, columns = np.nonzero(which)
    side = 2 * REACH + 1
    near = np.stack(
        [wide[rows + dy, columns + dx] for dy in range(side) for dx in range(side)], axis=1
    )
    regions = np.where(solid[near], near.astype(np.int16), -1)
    least = np.where(regions < 0, IGNORE + 1, regions).min(1)
    return int((regions.max(1) > least).sum())


def border_warning(role: str, source: Source, most: int) -> Finding | None:
    """The classes of a split that lie along borders only; None if there are none."""
    looked = [mask for _, mask in masks_of(source, most)]
    found = border_classes(looked, len(source.info.classes))
    if not found:
        return None
    names = [source.info.classes[k] for k in found]
    lie = "lies" if len(names) == 1 else "lie"
    return Finding(
        "mask_edges",
        f"masks of {role}: {listed(names)} {lie} only along the borders between other classes: "
        "blurred edges, or a border that should not be learnt? data.ignore=NAME leaves it out",
    )


def find_in_masks(splits: Mapping[str, Source], classes: Sequence[str]) -> list[Finding]:
    """What is odd in the masks of these splits; reads them."""
    findings: list[Finding] = []
    held: dict[str, NDArray[np.bool_]] = {}
    for role, source in splits.items():
        if not len(source):
            continue
        counts = pixel_counts(source)
        held[role] = np.asarray((counts[:, :-1] > 0).any(0))
        absent = [classes[k] for k in np.flatnonzero(~held[role]).tolist()]
        if absent:
            text = f"no mask of {role} holds {listed(absent)}"
            findings.append(Finding("empty_class", text))
        bare = np.flatnonzero(counts[:, :-1].sum(1) == 0).tolist()
        if bare:
            ids = [source.ids[i] for i in bare]
            text = f"{counted(len(ids), 'mask')} of {role} without a pixel of a class: {named(ids)}"
            findings.append(Finding("empty_mask", text, tuple((i,) for i in ids)))
        if (border := border_warning(role, source, MANY)) is not None:
            findings.append(border)
        findings += _regions(role, source)
    if "train" in held:
        for role, own in held.items():
            lost = [classes[k] for k in np.flatnonzero(own & ~held["train"]).tolist()]
            if lost:
                text = f"masks of {role} hold {listed(lost)}, which no mask of train holds"
                findings.append(Finding("unseen_class", text))
    return findings


def _regions(role: str, source: Source) -> list[Finding]:
    """Masks with specks, holes and slivers; if most of a split have them, that is how it is drawn,
    and none is named."""
    having: dict[str, list[str]] = {}
    looked = 0
    for i, mask in masks_of(source, MANY):
        looked += 1
        for what in odd_regions(mask):
            having.setdefault(what, []).append(source.ids[i])
    found: list[Finding] = []
    for what, ids in having.items():
        head = f"{counted(len(ids), 'mask')} of {role} with {what}s"
        if len(ids) * 2 > looked:
            found.append(Finding(what, f"{head}, of {looked} that were looked at"))
        else:
            found.append(finding(what, head, [[i] for i in ids]))
    return found
