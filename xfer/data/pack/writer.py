"""Write any source as a pack of large files; xfer/data/pack/reader.py describes the layout.

The pictures of a split for training are mixed over its shards, so that each holds all classes;
other splits are stored in order.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from xfer.boxes import Boxes
from xfer.data.images.remarks import Remark, remarks
from xfer.data.images.threads import cores
from xfer.data.inspect.verify import bad_pictures, find_bad, odd_pictures
from xfer.data.pack.check import MASK_LENGTHS, MASKS, SUM, SUMS
from xfer.data.pack.reader import INDEX, NAME, STARTED, VERSION, read_json
from xfer.data.pack.scaled import scaled
from xfer.data.pack.segments import arrays_of, map_bytes
from xfer.data.readers.base import ReadOptions
from xfer.data.sources.boxes import category_ids, image_ids
from xfer.data.sources.split_names import role_of
from xfer.data.spec import open_spec
from xfer.errors import DataError, XferError
from xfer.files import sealed
from xfer.kinds.base import PLUS
from xfer.kinds.findings import Finding
from xfer.locking.sole_writer import LOCK, check_home, sole_writer
from xfer.types import Source

AT_ONCE = 64  # pictures encoded between two writes
MIX = 0x9ACC
FIRST = f".{STARTED}.tmp"


@dataclass(frozen=True)
class Packing:
    """How pictures are packed.

    side     | the largest short side, pixels; 0: pictures keep their size
    raw      | RGB values instead of JPEG: ten times the bytes, at most a third of the reading time
    shard_mb | size at which a shard is full, MB
    quality  | of JPEG, 1..100
    """

    side: int = 256
    raw: bool = False
    shard_mb: int = 256
    quality: int = 90

    def __post_init__(self) -> None:
        limits = {"side": (0, 65500), "shard_mb": (1, 2**20), "quality": (1, 100)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise XferError(f"--{name.replace('_', '-')} {value}: must be {low} to {high}")


@dataclass(frozen=True)
class Packed:
    """What was written: numbers of pictures and of shards, `kept` of these from an earlier call,
    (file, reason) of those left out, and what is odd about the others."""

    path: Path
    images: int
    shards: int
    kept: int
    bytes: int
    skipped: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...] = ()


def pack(
    spec: Any,
    out: Path,
    options: Packing | None = None,
    *,
    skip_bad: bool = False,
    kinds: Sequence[str] = (),
    data_keys: Mapping[str, Any] | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> Packed:
    """Write the splits of a data spec into the folder `out`.

    Packing that was interrupted continues after the last complete shard; for a finished pack the
    checksums are compared, and damaged shards are written again.

    Args:
        spec: as in `open_data`.
        skip_bad: leave out what can't be decoded instead of raising.
        kinds: the kinds to read the data as, see `open_spec`.
        data_keys: images, ignore, path, label, split, as in `ReadOptions`.
        tick: called with (pictures done, pictures) now and then.

    Raises: DataError for data that can't be read, for a full disk, if `out` holds anything but a
        pack of the same pictures with the same options, and while another process writes there.
    """
    options = options or Packing()
    if any(PLUS in name for name in kinds):
        raise XferError("a pack holds one kind of data", "--task with one of the heads")
    opened = open_spec(spec, ReadOptions(skip_bad=skip_bad, **data_keys or {}), kinds)
    parts = opened.reading.parts
    plan = {
        "name": next(iter(parts.values())).info.name, "options": asdict(options),
        "splits": {split: source.fingerprint() for split, source in parts.items()},
    }  # fmt: skip
    _earlier(out, plan)  # makes the folder
    with sole_writer(out, inside=True):
        shards, kept = _shards(out, plan, opened.name, parts, options, skip_bad, tick)
        _finish(out, plan, parts, shards)
    skipped = tuple((name, why) for s in shards for name, why in s["skipped"])
    size = sum(s["bin_bytes"] for s in shards)
    images = sum(map(len, parts.values())) - len(skipped)
    odd = [(str(name), Remark(*rest)) for s in shards for name, *rest in s.get("remarks", ())]
    return Packed(out, images, len(shards), kept, size, skipped, tuple(odd_pictures(odd)))


def _shards(
    out: Path, plan: dict[str, Any], name: str, parts: dict[str, Source], options: Packing,
    skip_bad: bool, tick: Callable[[int, int], None] | None,
) -> tuple[list[dict[str, Any]], int]:  # fmt: skip
    """Every shard's index entry, and how many were complete already; writes the others."""
    state = _earlier(out, plan)
    total, done, kept = sum(map(len, parts.values())), 0, 0
    shards: list[dict[str, Any]] = []
    for split, source in parts.items():
        order, at = _order(source, split), 0
        while at < len(order):
            before = state[len(shards)] if len(shards) < len(state) else None
            if before is not None and _intact(out, before):
                about, kept = before, kept + 1
            else:
                # shards that an earlier call wrote after this one stay listed
                _write_json(out / STARTED, {"plan": plan, "shards": shards + state[len(shards) :]})
                shard = _Shard(out, f"shard-{len(shards):05d}", split, options)
                places, limit = order[at:], options.shard_mb * 2**20
                if before is not None:  # damaged: the same pictures again, however large
                    places, limit = order[at : before["stop"]], 1 << 62
                about = shard.write(source, places, limit, skip_bad)
                about = {**about, "stop": at + about["images"] + len(about["skipped"])}
            if about["skipped"] and not skip_bad:
                raise _all_bad(name, parts, about["skipped"])
            shards.append(about)
            done, at = done + about["stop"] - at, about["stop"]
            if tick is not None:
                tick(done, total)
    return shards, kept


def _order(source: Source, split: str) -> NDArray[np.int64]:
    """The order in which the pictures of a split are written: mixed, unless it is for scoring."""
    if role_of(split) in ("val", "test"):
        return np.arange(len(source))
    return np.random.default_rng(MIX).permutation(len(source))


def _earlier(out: Path, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The shards that an earlier call listed. Raises DataError if `out` holds anything else."""
    for name in (STARTED, INDEX):
        if not (out / name).is_file():
            continue
        content = read_json(out / name)
        if name == INDEX and content.get("format") != NAME:
            break
        if content.get("plan") != plan:
            raise DataError(
                f"{out}: holds a pack of other pictures, or with other options",
                "choose another -o, or remove it",
            )
        return content["shards"]
    # a call that was killed during its first write leaves only a temporary file
    if out.exists() and (not out.is_dir() or {p.name for p in out.iterdir()} - {FIRST, LOCK}):
        raise DataError(f"{out}: exists and is not a pack", "choose another -o, or remove it")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: {error.strerror}") from None
    return []


def _intact(out: Path, about: dict[str, Any]) -> bool:
    """Whether both files of a shard exist and match their checksums."""
    if not about["images"]:
        return True
    for suffix in ("bin", "npz"):
        try:
            with (out / f"{about['name']}.{suffix}").open("rb") as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return False
        if checksum != about[f"{suffix}_sha256"]:
            return False
    return True


def _all_bad(name: str, parts: dict[str, Source], known: list[tuple[str, str]]) -> DataError:
    """The error that names what can't be decoded: the known pictures and the rest of the set."""
    others = [(s.ids[i], why) for s in parts.values() for i, why in find_bad(s)]
    bad = list({**dict(known), **dict(others)}.items())
    return bad_pictures(name, sum(map(len, parts.values())), bad)


def _finish(
    out: Path, plan: dict[str, Any], parts: dict[str, Source], shards: list[dict[str, Any]]
) -> None:
    """Write index.json, which makes the folder a pack, and remove the record of progress."""
    options = plan["options"]
    splits = {
        split: {
            "kind": source.info.kind, "classes": source.info.classes,
            "licence": source.info.licence,
            "images": sum(s["images"] for s in shards if s["split"] == split),
            **_category_ids(source),
            **({"things": source.info.things} if source.info.things else {}),
        }
        for split, source in parts.items()
    }  # fmt: skip
    empty = [split for split, about in splits.items() if not about["images"]]
    if empty:
        raise DataError(f"{out}: no picture of {', '.join(empty)} can be decoded")
    index = {
        "format": NAME, "version": VERSION, "name": plan["name"],
        "pixels": "raw" if options["raw"] else "jpeg", "side": options["side"],
        "quality": options["quality"],
        "splits": splits, "shards": shards, "plan": plan,
    }  # fmt: skip
    _write_json(out / INDEX, index)
    (out / STARTED).unlink(missing_ok=True)


def _category_ids(source: Source) -> dict[str, Any]:
    """A COCO file's ids of the classes, in their order; {} if it does not name them all."""
    ids, classes = category_ids(source) or {}, source.info.classes
    return {"category_ids": [ids[c] for c in classes]} if set(classes) <= set(ids) else {}


class _Shard:
    """A shard being written: the .bin picture by picture, the .npz at the end."""

    def __init__(self, out: Path, name: str, split: str, options: Packing) -> None:
        self.out, self.name, self.split, self.options = out, name, split, options
        self.rows: list[dict[str, Any]] = []
        self.skipped: list[tuple[str, str]] = []

    def write(
        self, source: Source, places: NDArray[np.int64], limit: int, skip_bad: bool
    ) -> dict[str, Any]:
        """Pack pictures until the shard holds `limit` bytes or all are done; its index entry."""
        pixels, size, digest = self.out / f"{self.name}.bin", 0, hashlib.sha256()
        temporary = pixels.with_name(f".{pixels.name}.tmp")
        check_home(pixels)
        try:
            with temporary.open("wb") as file, ThreadPoolExecutor(cores()) as pool:
                for start in range(0, len(places), AT_ONCE):
                    some = places[start : start + AT_ONCE].tolist()
                    for i, packed in zip(
                        some, pool.map(lambda i: self._row(source, i), some), strict=True
                    ):
                        if size >= limit:
                            break
                        if isinstance(packed, DataError):
                            reason = str(getattr(packed, "reason", packed.message))
                            self.skipped.append((str(source.ids[i]), reason))
                            continue
                        row, data = packed
                        self.rows.append({**row, "order": i, "start": size})
                        file.write(data)
                        digest.update(data)
                        size += len(data)
                    if size >= limit or (self.skipped and not skip_bad):
                        break
                _synced(file)
            about: dict[str, Any] = {
                "name": self.name, "split": self.split, "images": len(self.rows),
                "skipped": self.skipped, "bin_bytes": size, "bin_sha256": digest.hexdigest(),
            }  # fmt: skip
            odd = [[row["id"], *astuple(one)] for row in self.rows for one in row["remarks"]]
            if odd:
                about["remarks"] = odd
            if not self.rows:
                return {
                    **about,
                    "npz_sha256": "",
                }  # no files, but the entry lists what was left out
            check_home(pixels)
            temporary.replace(pixels)
            return {**about, "npz_sha256": self._write_table(source)}
        except OSError as error:
            raise _no_room(pixels, error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _row(self, source: Source, i: int) -> tuple[dict[str, Any], bytes] | DataError:
        """What is known about picture i, and its bytes; or the error if it can't be decoded."""
        with remarks() as odd:
            try:
                sample = source[i]  # in full: its size is recorded, and averaging uses every pixel
            except DataError as error:
                return error
        original = sample.image.shape[:2]
        sample = scaled(sample, self.options.side)
        image = np.ascontiguousarray(sample.image)
        if self.options.raw:
            data = image.tobytes()
        else:
            data = simplejpeg.encode_jpeg(image, self.options.quality, "RGB", "420")
        mask = b"" if sample.mask is None else zlib.compress(sample.mask.tobytes())
        segments = sample.segments
        if segments is not None:
            mask = map_bytes(segments)
            segments = segments.mapped(segments.map[:0])  # the table needs their classes alone
        whole = data + mask
        row = {
            "id": sample.id, "size": image.shape[:2], "original": original, "length": len(data),
            "remarks": odd, "mask_length": len(mask), SUM: SUMS[SUM](whole),
            "sample": replace(sample, image=image[:0], mask=None, segments=segments),
        }  # fmt: skip
        return row, whole

    def _write_table(self, source: Source) -> str:
        """Write the .npz and return its checksum."""
        rows, samples = self.rows, [row["sample"] for row in self.rows]
        types = {SUM: np.uint64}
        keys = ("order", "size", "original", "start", "length", "mask_length", SUM)
        arrays: dict[str, NDArray] = {
            key: np.array([row[key] for row in rows], types.get(key, np.int64)) for key in keys
        }
        names = json.dumps([row["id"] for row in rows], ensure_ascii=False).encode()
        arrays["ids"] = np.frombuffer(names, np.uint8)
        coco_ids = image_ids(source)
        if coco_ids is not None:
            text = json.dumps([coco_ids[row["order"]] for row in rows], ensure_ascii=False)
            arrays["image_ids"] = np.frombuffer(text.encode(), np.uint8)
        arrays["labels"] = source.labels()[arrays["order"]]
        arrays["box_count"] = np.array(
            [-1 if s.boxes is None else len(s.boxes) for s in samples], np.int64
        )
        known = [s.boxes for s in samples if s.boxes is not None]
        boxes = Boxes.join(known)
        arrays["boxes"], arrays["box_labels"] = boxes.xyxy.astype(np.float32), boxes.labels
        if known:
            arrays["difficult"], arrays["crowd"] = boxes.difficult, boxes.crowd
            arrays["areas"] = boxes.area
        if known and boxes.masks is not None:
            counts = [mask.counts for mask in boxes.masks.tolist()]
            arrays[MASKS] = np.frombuffer(b"".join(counts), np.uint8)
            arrays[MASK_LENGTHS] = np.array([len(one) for one in counts], np.int64)
        arrays |= arrays_of([sample.segments for sample in samples])
        path = self.out / f"{self.name}.npz"
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
                _synced(file)
            with temporary.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return digest


def _synced(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file with its checksum, completely or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    check_home(path)
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(sealed(content), file, ensure_ascii=False, indent=1)
            _synced(file)
        temporary.replace(path)
    except OSError as error:
        raise _no_room(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _no_room(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: {error.strerror or error}",
        "run the same command to continue after the last complete shard",
    )
