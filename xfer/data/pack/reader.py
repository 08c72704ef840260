"""`pack`: pictures stored end to end in a few large files, as `xfer data pack` writes them.

A pack is a folder that numpy and Python's own modules can read; only the pixels of a JPEG pack
need a JPEG decoder.

    index.json       | what the pack holds, written last: without it the pack is not finished
    shard-00000.bin  | pixels and masks of some hundred pictures of one split, end to end
    shard-00000.npz  | what is known about them, one entry per picture

index.json: "format" "xfer-pack", "version" 3 (2: never with segments; 1: without xxh3 either),
"name", "pixels" (jpeg or raw), "side" (the largest short side, pixels; 0: as they were), "quality"
(of JPEG, 1..100), "splits" {name: {"kind", "classes", "licence", "images" and, where a COCO file
was packed, "category_ids": its ids of the classes; with segments "things": which classes are}}, and
"shards" in order, each {"name", "split", "images", "bin_bytes", "bin_sha256", "npz_sha256"}; "plan"
says what was packed, so that packing can go on; "sha256" is the checksum of all this, see
`files.sealed`.

When a pack is opened, the checksums of index.json and of every .npz are compared, and a picture's
when it is first read; `data.verify=false` leaves both out. Every shard-*.npz, for n pictures:

    order      | int64 (n,)                | position of the picture in its split; shards are mixed
    ids        | uint8 (bytes,)            | the n ids as a JSON list in UTF-8
    image_ids  | uint8 (bytes,)            | the n pictures' ids in a COCO file, a JSON list;
               |                           | absent if none was packed
    size       | int64 (n, 2)              | height and width of the stored picture, pixels
    original   | int64 (n, 2)              | height and width before packing
    start      | int64 (n,)                | first byte of the picture in the .bin
    length     | int64 (n,)                | its bytes: a JPEG file, or height * width * 3 RGB
    xxh3       | uint64 (n,)               | checksum of the picture's bytes and then the mask's:
               |                           | XXH3 of 64 bits, no seed (xxhash.xxh3_64_intdigest)
    crc        | uint32 (n,)               | in its place in shards of version 1: their zlib.crc32
    labels     | int64 (n,) or int8 (n, C) | as `xfer.data.sources.base.Source.labels`
    mask_length| int64 (n,)                | bytes of the mask, 0: none; they follow the picture and
               |                           | are uint8 (height, width), compressed by zlib
    boxes      | float32 (R, 4)            | xyxy in pixels of the stored picture, all pictures'
    box_count  | int64 (n,)                | how many of the R belong to each picture, -1: not known
    box_labels | int64 (R,)                | class of each box
    difficult, crowd | bool (R,)           | absent if none is
    areas      | float64 (R,)              | of the objects, in square pixels of the stored picture;
               |                           | absent: those of the boxes
    object_masks | uint8 (bytes,)          | the masks of the R objects end to end, in COCO's
               |                           | compressed run lengths for `size`; absent: no masks
    object_mask_length | int64 (R,)        | bytes of each object's mask
    segment_count | int64 (n,)             | panoptic: how many of the S segments belong to each
               |                           | picture, -1: not known. A picture's mask is then int16,
               |                           | little-endian: the number of its segment, -1: none
    segment_labels, segment_crowd | int64, bool (S,) | class of each segment; whether it is a crowd
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.images.decode import DecodeError, shrink
from xfer.data.npz import read_npz
from xfer.data.pack.check import (
    MASK_LENGTHS,
    MASKS,
    SUMS,
    check_index,
    check_order,
    check_table,
    sums_in,
)
from xfer.data.pack.segments import SegmentTable, map_of
from xfer.data.sources import door
from xfer.data.sources.base import sample_label
from xfer.data.sources.boxes import BoxTable, box_table
from xfer.data.sources.id_array import Names, choose
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError, whole
from xfer.files import TABLE, bytes_of, check_schema, check_seal, json_of
from xfer.objects.mask import ObjectMask, as_column, check_runs, run_lengths
from xfer.objects.segments import Segments
from xfer.types import DataInfo, Sample

INDEX, STARTED = "index.json", "packing.json"
NAME, VERSION = "xfer-pack", 3
AGAIN = "run `xfer data pack` with the same source and folder to write it again"
ELSEWHERE = "pack the pictures again, into another folder"
_NONE = np.frombuffer(b"[]", np.uint8)
# arrays of a shard that hold one entry per picture
PER_PICTURE = ("order", "size", "original", "start", "length", "labels", "mask_length", "box_count")


class PackSource:
    """One split of a pack, in the order of the source that was packed.

    A raw picture is a read-only view of the file: cropping it touches only the crop's bytes.
    A JPEG is decoded straight from the mapped file. Reading is safe from several threads.

    Args:
        root: the pack's folder; index: its index.json; split: the name of a split.
        verify: compare checksums; False: believe the files.
    Raises: DataError, naming the shard, if a file is missing, cut off or changed.
    """

    def __init__(self, root: Path, index: dict[str, Any], split: str, verify: bool = True) -> None:
        about = index["splits"][split]
        self.info = DataInfo(
            index["name"], about["kind"], tuple(about["classes"]), role_of(split) or split,
            about["licence"], things=tuple(about.get("things", ())),
        )  # fmt: skip
        self.root, self.raw = root, index["pixels"] == "raw"
        shards = [s for s in index["shards"] if s["split"] == split and s["images"]]
        self.files = tuple(root / f"{s['name']}.bin" for s in shards)
        counts = [int(s["images"]) for s in shards]
        joined, names, tables, sums = _joined(root, shards, len(about["classes"]), verify)
        image_ids = [key for t in tables for key in json.loads(t.get("image_ids", _NONE).tobytes())]
        # place: where the picture is stored, counted through the shards
        place = np.argsort(joined.pop("order"))
        boxes = _boxes(tables, joined["box_count"], place, joined["size"][place])
        self._segments = SegmentTable.join(tables, counts, place)
        joined = {key: joined.pop(key)[place] for key in list(joined)}
        self.ids = choose(names, place)
        self.image_ids = tuple(image_ids[p] for p in place.tolist()) if image_ids else ()
        self.category_ids = tuple(about.get("category_ids", ()))
        self._shard = np.repeat(np.arange(len(shards)), counts)[place]
        self._start, self._length = joined["start"], joined["length"]
        self._mask_length, self._sum = joined["mask_length"], joined["sum"]
        self._sums = sums
        self.sizes, self.original_sizes = joined["size"], joined["original"]
        self._labels = joined["labels"]
        self._boxes, self._has_boxes = boxes, joined["box_count"] >= 0
        self._fingerprint = _digest(index, split)
        self._maps: dict[int, NDArray[np.uint8]] = {}
        self._verify = verify
        # pictures whose bytes have not been compared with their checksum in this process
        self._unseen = np.full(len(self.ids), verify)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    @door.sample
    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i. Without boxes and mask its picture is shrunk to `short_side` (0: unchanged)."""
        data = self.content(i)
        if self.raw:
            height, width = self.sizes[i].tolist()
            image = data.reshape(height, width, 3)
        else:
            try:
                image = simplejpeg.decode_jpeg(data, "RGB")
            except ValueError as error:
                raise self._damaged(i) from error
        mask, boxes, segments = self._mask(i), self._boxes_of(i), self.read_segments(i)
        if mask is None and boxes is None and segments is None:
            image = shrink(image, short_side)
        placed = kinds.get(self.info.kind).placed  # then boxes or masks are the labels
        label = None if placed else sample_label(self._labels[i])
        return Sample(self.ids[i], image, label, boxes=boxes, mask=mask, segments=segments)

    def labels(self) -> NDArray[np.int64] | NDArray[np.int8]:
        return self._labels

    @door.sample
    def annotation(self, i: int) -> Boxes:
        """The boxes of picture i, without decoding it. Raises DataError if none are known."""
        boxes = self._boxes_of(i)
        if boxes is None:
            raise DataError(f"{self.ids[i]}: no boxes are known for this picture")
        return boxes.astype(np.float64)

    def stored(self) -> NDArray[np.int64]:
        """The indices in the order in which their pictures are stored."""
        return np.lexsort((self._start, self._shard))

    @door.sample
    def verify(self, i: int) -> None:
        """Raises DecodeError, naming the shard, if the bytes of picture i have changed."""
        self._unseen[i] = self._verify
        self.content(i)

    def content(self, i: int) -> NDArray[np.uint8]:
        """A view of the bytes of picture i, compared with their checksum the first time."""
        length = int(self._length[i])
        data = self._bytes(i, length + int(self._mask_length[i]))
        if self._unseen[i]:
            if SUMS[self._sums[self._shard[i]]](data) != int(self._sum[i]):
                raise self._damaged(i)
            self._unseen[i] = False
        return data[:length]

    def stamp(self, i: int) -> str | None:
        """Text that changes with the shard's file; None if it is gone."""
        file = self.files[self._shard[i]].absolute()
        try:
            state = file.stat()
        except OSError:
            return None
        return f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0{self._start[i]}\0{self._sum[i]}"

    def fingerprint(self) -> str:
        return self._fingerprint

    def _bytes(self, i: int, length: int) -> NDArray[np.uint8]:
        """A view of the file, `length` bytes from the beginning of picture i."""
        shard, start = int(self._shard[i]), int(self._start[i])
        whole = self._maps.get(shard)
        if whole is None:
            try:
                # a plain array: slices of numpy's memmap class cost ten times as much
                whole = np.asarray(np.memmap(self.files[shard], np.uint8, "r"))
            except (OSError, ValueError) as error:
                raise DecodeError(f"{self.files[shard]}: {error}", self.ids[i]) from None
            self._maps[shard] = whole
        part = whole[start : start + length]
        if len(part) != length:
            raise self._damaged(i)
        return part

    def _boxes_of(self, i: int) -> Boxes | None:
        if self._boxes is None or not self._has_boxes[i]:
            return None
        boxes = self._boxes.of(i)
        if boxes.masks is None:
            return boxes
        masks = as_column(replace(mask, size=boxes.size) for mask in boxes.masks.tolist())
        try:
            for mask in masks.tolist():
                check_runs(run_lengths(mask.counts), mask.size)
        except DataError as error:
            raise self._damaged(i) from error
        return replace(boxes, masks=masks)

    def _mask(self, i: int) -> NDArray[np.uint8] | None:
        coded = None if self._segments is not None else self._map_bytes(i)
        if coded is None:
            return None
        try:
            data = zlib.decompress(coded)
            return np.frombuffer(data, np.uint8).reshape(self.sizes[i])
        except (zlib.error, ValueError) as error:
            raise self._damaged(i) from error

    @door.sample
    def read_segments(self, i: int) -> Segments | None:
        """The segments of picture i, without decoding it; None if none are known."""
        if self._segments is None or self._segments.count[i] < 0:
            return None
        try:
            return self._segments.of(i, map_of(self._map_bytes(i) or b"", self.sizes[i]))
        except (zlib.error, ValueError, DataError) as error:
            raise self._damaged(i) from error

    def _map_bytes(self, i: int) -> Any:
        """The map that is stored after the pixels of picture i, or None if it has no map."""
        length, pixels = int(self._mask_length[i]), int(self._length[i])
        return self._bytes(i, pixels + length)[pixels:].data if length else None

    def _damaged(self, i: int) -> DecodeError:
        return DecodeError(f"{self.files[self._shard[i]]} is damaged", self.ids[i])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}


def _joined(
    root: Path, shards: list[dict[str, Any]], classes: int, verify: bool
) -> tuple[dict[str, NDArray], Names, list[dict[str, NDArray]], list[str]]:
    """The arrays of all shards with one entry per picture, in stored order, their checksums under
    "sum"; the ids; each shard's other arrays; and how its pictures' checksums are computed, of
    `SUMS`. For a million pictures these arrays are in memory only once."""
    joined: dict[str, NDArray] = {}
    rest: list[dict[str, NDArray]] = []
    names: list[Names] = []
    sums: list[str] = []
    at, count = 0, sum(shard["images"] for shard in shards)
    for shard in shards:
        table = open_shard(root, shard, verify)
        file = root / f"{shard['name']}.npz"
        check_table(file, table, shard["images"], classes, shard["bin_bytes"])
        parts = {key: table.pop(key) for key in PER_PICTURE}
        sums.append(sums_in(table))
        parts["sum"] = table.pop(sums[-1]).astype(np.uint64)
        for key, part in parts.items():
            if key not in joined:
                joined[key] = np.empty((count, *part.shape[1:]), part.dtype)
            joined[key][at : at + shard["images"]] = part
        names.append(Names.of(_listed(file, table.pop("ids"), shard["images"])))
        if "image_ids" in table:
            _listed(file, table["image_ids"], shard["images"], (str, int))
        rest.append(table)
        at += shard["images"]
    if shards:
        check_order(root, joined["order"])
    return joined, Names.join(names), rest, sums


def _listed(
    file: Path, coded: NDArray, count: int, kind: type | tuple[type, ...] = str
) -> list[Any]:
    """A list in JSON, one entry per picture. Raises DataError for anything else."""
    with whole(file, "damaged"):
        names = json.loads(coded.tobytes())
    if not isinstance(names, list) or len(names) != count:
        raise DataError(f"{file}: damaged (it does not have one name per picture)", AGAIN)
    if not all(isinstance(name, kind) for name in names):
        raise DataError(f"{file}: damaged (a name that is not text)", AGAIN)
    return names


def _boxes(
    tables: list[dict[str, NDArray]], stored: NDArray[np.int64], place: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> BoxTable | None:  # fmt: skip
    """The boxes of all shards by picture; None if no picture has any.

    Args: stored: box counts in stored order; place: where each picture is stored.
    """
    if (stored < 0).all():
        return None
    boxes = Boxes.join([
        Boxes.of(t["boxes"], t["box_labels"], difficult=t.get("difficult"), crowd=t.get("crowd"),
                 area=t.get("areas"), masks=_masks(t))
        for t in tables
    ])  # fmt: skip
    return box_table(np.repeat(np.argsort(place), np.maximum(stored, 0)), boxes, sizes)


def _masks(table: dict[str, NDArray]) -> list[ObjectMask] | None:
    """The objects' masks in a shard, of a size that is not told here; None if it has none."""
    if MASKS not in table:
        return None
    content, ends = table[MASKS].tobytes(), np.cumsum(table[MASK_LENGTHS]).tolist()
    starts = [0, *ends[:-1]]
    return [ObjectMask((0, 0), content[a:b]) for a, b in zip(starts, ends, strict=True)]


def _digest(index: dict[str, Any], split: str) -> str:
    shards = [s for s in index["shards"] if s["split"] == split]
    text = json.dumps([split, index["splits"][split], shards], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def open_shard(root: Path, about: dict[str, Any], verify: bool = True) -> dict[str, NDArray]:
    """Load a shard's arrays, checking its files against index.json: the .npz by its checksum, the
    .bin by its size (its pictures have their own checksums). Raises DataError naming the file.
    """
    table, pixels = root / f"{about['name']}.npz", root / f"{about['name']}.bin"
    try:
        data, size = bytes_of(table) if verify else b"", pixels.stat().st_size
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}", AGAIN) from None
    if size != about["bin_bytes"]:
        what = "cut off" if size < about["bin_bytes"] else "damaged"
        raise DataError(f"{pixels}: {what}: {size} bytes, not {about['bin_bytes']}", AGAIN)
    if verify and hashlib.sha256(data).hexdigest() != about["npz_sha256"]:
        raise DataError(f"{table}: damaged: its checksum differs", AGAIN)
    return read_table(table)


def read_table(path: Path) -> dict[str, NDArray]:
    """Load the arrays of a shard's .npz. Raises DataError if it can't be read."""
    with whole(path, "damaged"):
        return read_npz(path)


def read_json(file: Path, verify: bool = True) -> dict[str, Any]:
    """Read a JSON file that holds one object. Raises DataError if it can't be read, or if its
    checksum differs."""
    with whole(file, "damaged"):
        content = json_of(file, TABLE)
    if not isinstance(content, dict):
        raise DataError(f"{file}: damaged (it holds a {type(content).__name__})", ELSEWHERE)
    if verify:
        check_seal(file, content)
    return content


def read_index(root: Path, verify: bool = True) -> dict[str, Any]:
    """Read the index.json of a pack. Raises DataError if the pack is unfinished or not xfer's."""
    file = root / INDEX
    if not file.is_file():
        if (root / STARTED).is_file():
            raise DataError(
                f"{root}: packing was not finished", AGAIN.replace("write it again", "finish it")
            )
        raise DataError(f"{root}: not a pack: it has no {INDEX}", "xfer data pack SPEC -o DIR")
    index = read_json(file, verify)
    if index.get("format") != NAME:
        raise DataError(f"{file}: not the index of a pack", "xfer data pack SPEC -o DIR")
    check_schema(file, index.get("version"), VERSION)
    check_index(file, index)
    return index
