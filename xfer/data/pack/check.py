"""Whether what index.json and a shard's arrays say can be: types, shapes, ranges and sums.

A reader that has asked once can use the arrays as they are.

A picture's checksum is XXH3 of 64 bits, without a seed. It is for accidents: a turned bit, a page
of another file, zeros. Such a change goes unnoticed about once in 2**64; but whoever wants to can
make another picture of the same sum. It was taken for its speed, 20 to 30 GB/s: a thread cuts and
scales raw pictures at about 1 GB/s, and zlib's CRC-32, at 1 to 7 GB/s as it happens to be built,
would add a sixth to that time, or double it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.pack.segments import COUNT, CROWD, LABELS, MOST
from xfer.errors import DataError
from xfer.files import Types, check_fields

_INDEX: Types = {"name": str, "pixels": str, "splits": dict, "shards": list}
_SPLIT: Types = {"kind": str, "classes": list, "licence": (str, type(None)), "images": int}
_SHARD: Types = {"name": str, "split": str, "images": int, "bin_bytes": int, "npz_sha256": str}
# array -> its kinds of numbers, and the shape of a picture's (or, below, a box's) entry
_OF_PICTURES: dict[str, tuple[str, tuple[int, ...]]] = {
    "order": ("iu", ()), "size": ("iu", (2,)), "original": ("iu", (2,)), "start": ("iu", ()),
    "length": ("iu", ()), "mask_length": ("iu", ()), "box_count": ("iu", ()),
}  # fmt: skip
_OF_BOXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "boxes": ("f", (4,)), "box_labels": ("iu", ()), "difficult": ("b", ()), "crowd": ("b", ()),
    "areas": ("f", ()), "object_mask_length": ("iu", ()),
}  # fmt: skip
# array of pictures' checksums -> how they are computed; the one that is written
SUMS: dict[str, Callable[[Any], int]] = {"xxh3": xxhash.xxh3_64_intdigest, "crc": zlib.crc32}
SUM = "xxh3"
MASKS, MASK_LENGTHS = "object_masks", "object_mask_length"
LARGEST = 1 << 20  # pixels on a side, of a picture that is kept as it is


def check_index(file: Path, index: dict[str, Any]) -> None:
    """Raises DataError if index.json lacks a field, or has one that can't be."""
    check_fields(file, index, _INDEX)
    for name, split in index["splits"].items():
        where = f"{file}: split {name}"
        check_fields(where, split, _SPLIT, {"category_ids": list, "things": list})
        if split["kind"] not in kinds.KINDS.names():
            raise DataError(f"{where}: unknown kind of data {split['kind']!r}")
        if not all(isinstance(one, str) for one in [*split["classes"], *split.get("things", ())]):
            raise DataError(f"{where}: damaged (a class without a name)")
        if len(split.get("category_ids", split["classes"])) != len(split["classes"]):
            raise DataError(f"{where}: damaged (not one category id per class)")
    for shard in index["shards"]:
        check_fields(f"{file}: shards", shard, _SHARD)
        # a name is of a file in the pack's own folder
        if Path(shard["name"]).name != shard["name"] or "\0" in shard["name"]:
            raise DataError(f"{file}: damaged (a shard called {shard['name']!r:.60})")
        if shard["split"] not in index["splits"] or shard["images"] < 0:
            raise DataError(f"{file}: damaged (shard {shard['name']})")


def check_table(
    file: Path, table: dict[str, NDArray], count: int, classes: int, content: int
) -> None:
    """Raises DataError if a shard's arrays don't belong together.

    Args: count: its pictures; classes: C; content: bytes of its .bin.
    """
    for name, (numbers, entry) in _OF_PICTURES.items():
        _check_array(file, table, name, numbers, (count, *entry))
    _check_array(file, table, sums_in(table), "iu", (count,))
    _check_labels(file, table.get("labels"), count, classes)
    boxes = int(np.maximum(table["box_count"], 0).sum())
    for name, (numbers, entry) in _OF_BOXES.items():
        if name in table or (name in ("boxes", "box_labels") and boxes):
            _check_array(file, table, name, numbers, (boxes, *entry))
    if boxes and not _between(table["box_labels"], 0, classes - 1):
        raise DataError(f"{file}: damaged (a box of a class without a name)")
    if boxes and not np.isfinite(table["boxes"]).all():
        raise DataError(f"{file}: damaged (a box that is not finite)")
    if MASKS in table or MASK_LENGTHS in table:
        content_of = table.get(MASKS, np.zeros(0, np.uint8))
        lengths = table.get(MASK_LENGTHS, np.zeros(0, np.int64))
        whole = content_of.ndim == 1 and content_of.dtype == np.uint8 and len(lengths) == boxes
        if not whole or not _between(lengths, 0, len(content_of)) or (
            int(lengths.sum()) != len(content_of)
        ):  # fmt: skip
            raise DataError(f"{file}: damaged (its objects' masks)")
    _check_segments(file, table, count, classes)
    ends = table["start"].astype(np.float64) + table["length"] + table["mask_length"]
    good = (
        _between(table["size"], 1, LARGEST)
        and all(_between(table[name], 0, content) for name in ("start", "length", "mask_length"))
        and (not count or ends.max() <= content)
    )
    if not good:
        raise DataError(f"{file}: damaged (a picture beyond the {content} bytes of its shard)")


def _check_segments(file: Path, table: dict[str, NDArray], count: int, classes: int) -> None:
    if COUNT not in table:
        return
    _check_array(file, table, COUNT, "iu", (count,))
    total = int(np.maximum(table[COUNT], 0).sum())
    _check_array(file, table, LABELS, "iu", (total,))
    _check_array(file, table, CROWD, "b", (total,))
    if not _between(table[COUNT], -1, MOST) or not _between(table[LABELS], 0, classes - 1):
        raise DataError(f"{file}: damaged (its segments)")


def sums_in(table: dict[str, NDArray]) -> str:
    """Which array of a shard holds its pictures' checksums: packs of version 1 have "crc"."""
    return "crc" if "crc" in table and SUM not in table else SUM


def check_order(root: Path, order: NDArray[Any]) -> None:
    """Raises DataError if two pictures of a split have the same position; those that could not be
    packed leave gaps."""
    if len(np.unique(order)) < len(order):
        raise DataError(f"{root}: damaged (its shards don't belong together)")


def _check_array(
    file: Path, table: dict[str, NDArray], name: str, numbers: str, shape: tuple[int, ...]
) -> None:
    if name not in table:
        raise DataError(f"{file}: damaged (it lacks {name})")
    array = table[name]
    if array.dtype.kind not in numbers or array.shape != shape:
        raise DataError(f"{file}: damaged ({name} is {array.dtype} {array.shape}, not {shape})")


def _check_labels(file: Path, labels: NDArray | None, count: int, classes: int) -> None:
    if labels is None or labels.dtype.kind not in "iu":
        raise DataError(f"{file}: damaged (it has no labels)")
    single = labels.shape == (count,) and _between(labels, -1, max(0, classes - 1))
    several = labels.shape == (count, classes) and _between(labels, -1, 1)
    if not single and not several:
        raise DataError(f"{file}: damaged (labels {labels.shape} of {classes} classes)")


def _between(array: NDArray, low: int, high: int) -> bool:
    return not array.size or (int(array.min()) >= low and int(array.max()) <= high)
