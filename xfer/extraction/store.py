"""The features file: written as a stream, read layer by layer, never a pickle.

An .npz, readable with plain numpy (`numpy.load(path, allow_pickle=False)`):

name    | dtype              | shape            | meaning
<layer> | float32 or float16 | (N, D)           | one array per layer, named after it
y       | int64, or int8     | (N,), or (N, C)  | class index, -1 unlabelled; multi-label: 1, 0, -1
ids     | text               | (N,)             | the pictures' names, as in the data source
classes | text               | (C,)             | class names; empty for unlabelled pictures
splits  | text               | (N,)             | train, val or test
meta    | text               | ()               | JSON: see `xfer.extraction.extract.describe`

The comment of the zip archive is JSON, {array's name: its sha256, ..., "sha256": that of all this},
of all arrays but meta; numpy neither shows it nor writes it again. An array is compared with it
when it is read, a layer when it is first used; without it, as numpy.savez leaves a file that
somebody has changed, with the archive's own CRC-32.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from xfer.data.npz import array_in, read_header
from xfer.errors import DataError, reader, whole
from xfer.files import (
    NotAFile,
    array_sum,
    check_schema,
    check_seal,
    no_file,
    replacing,
    room,
    sealed,
)
from xfer.locking.sole_writer import sole_writer
from xfer.notebook.objects import features_card

SCHEMA = 1
FORMAT = "xfer features"
COLUMNS = ("y", "ids", "classes", "splits", "meta")
AGAIN = "make it again with `xfer features ... -o FILE.npz`"
_BLOCK = 1 << 22


@dataclass(frozen=True, repr=False)
class Features:
    """The features of N pictures. `layers` of a file are memory-mapped: read when used.

    layers  | layer name -> float32 or float16 (N, D)
    y       | int64 (N,), -1 unlabelled; multi-label int8 (N, C): 1 yes, 0 no, -1 unknown
    ids     | (N,) text
    classes | (C,) text
    splits  | (N,) text: train, val, test
    meta    | how they were made: backbone, weights, layers, pool, crops, data, versions
    """

    layers: Mapping[str, NDArray[Any]]
    y: NDArray[Any]
    ids: NDArray[np.str_]
    classes: NDArray[np.str_]
    splits: NDArray[np.str_]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        layers = ", ".join(f"{name} {what}" for name, what in self._widths().items())
        return (
            f"<features of {len(self):,} pictures: {layers[:300]}; {len(self.classes):,} classes>"
        )

    def _repr_html_(self) -> str:
        roles, counts = np.unique(self.splits, return_counts=True)
        splits = dict(zip(roles.tolist(), counts.tolist(), strict=True))
        return features_card(len(self), self._widths(), splits, self.classes.tolist(), self.meta)

    def _widths(self) -> dict[str, str]:
        """Layer -> the length of its vectors, without reading them where meta tells."""
        widths = self.meta.get("layers") or {}
        return {
            name: f"{widths[name] if name in widths else self.layers[name].shape[1]:,} numbers"
            for name in self.layers
        }


class LayerArrays(Mapping[str, NDArray[Any]]):
    """The layers of a features file, each memory-mapped, read-only, on first use.

    Args:
        places: the first byte of each layer's .npy in the file.
        members: what the archive says of each, to compare its CRC-32; None: nothing is compared.
        sums: their sha256, if the file has them.
    """

    def __init__(
        self, path: Path, places: dict[str, int], members: Mapping[str, zipfile.ZipInfo] | None,
        sums: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.path = path
        self._places, self._members, self._sums = places, members, sums
        self._unseen = set(places if members is not None else ())

    def __getitem__(self, name: str) -> NDArray[Any]:
        array = self.mapped(name)
        if name in self._unseen:
            if name in self._sums:
                _check_sum(self.path, name, array, self._sums)
            else:
                self._check_crc(name)
            self._unseen.remove(name)
        return array

    def _check_crc(self, name: str) -> None:
        assert self._members is not None
        info = self._members[name]
        content = np.memmap(self.path, np.uint8, "r", self._places[name], (info.file_size,))
        if zlib.crc32(content.data) != info.CRC:
            raise DataError(f"{self.path}: damaged: {name} has another checksum", AGAIN)

    def mapped(self, name: str) -> NDArray[Any]:
        """A layer that is not compared with its checksum."""
        with self.path.open("rb") as file:
            file.seek(self._places[name])
            shape, fortran, dtype = read_header(file)
            start = file.tell()
        if 0 in shape:
            return np.empty(shape, dtype)
        order = "F" if fortran else "C"
        return np.memmap(self.path, dtype, "r", start, shape, order)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@reader
def read_features(path: Path | str, verify: bool = True) -> Features:
    """Reads a features file; the layers stay on disk until they are used.

    Args: verify: compare each array with its checksum when it is first used.

    Raises: DataError for a file that is missing, truncated, damaged, or not written by
        `xfer features`; so does using a damaged layer.
    """
    path = Path(path)
    again = AGAIN
    if what := no_file(path):
        raise NotAFile(path, what)
    if not path.is_file():
        raise DataError(f"{path}: no such features file", again.replace("it again", "one"))
    if path.suffix == ".parquet":
        raise DataError(
            f"{path}: .parquet files are for other programs", "extract with -o FILE.npz"
        )
    if not zipfile.is_zipfile(path):
        reason = "cut off" if _starts_as_zip(path) else "not an .npz file"
        raise DataError(f"{path}: {reason}", again)
    try:
        with zipfile.ZipFile(path) as file:
            sums = _sums(path, file.comment) if verify else {}
            places = {
                info.filename.removesuffix(".npy"): _content_start(path, info)
                for info in file.infolist()
                if info.compress_type == zipfile.ZIP_STORED
            }
            missing = [name for name in COLUMNS if f"{name}.npy" not in file.namelist()]
            if missing or "meta" not in places:
                lacks = ", ".join(missing) or "an uncompressed meta"
                raise DataError(f"{path}: not written by `xfer features` (it lacks {lacks})", again)
            columns = {name: array_in(file, name) for name in COLUMNS}
            members = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
        for name in columns if sums else ():
            if name != "meta":
                _check_sum(path, name, columns[name], sums)
        meta = json.loads(str(columns.pop("meta")))
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise DataError(f"{path}: not written by `xfer features`", again)
        _check_columns(path, columns)
        layers = LayerArrays(
            path, {n: at for n, at in places.items() if n not in COLUMNS},
            members if verify else None, sums,
        )  # fmt: skip
        if sums and sums.keys() != members.keys() - {"meta"}:
            raise DataError(f"{path}: damaged: its arrays are not those of its checksums", again)
        table = Features(layers, meta=meta, **columns)
        check_schema(path, meta.get("schema", 1), SCHEMA)
        _check(path, table, layers)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as error:
        raise DataError(f"{path}: damaged ({str(error).splitlines()[0]})", again) from error
    return table


def _check_columns(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Raises DataError for arrays of other types or numbers of axes than those of the table above.

    Labels may be floats: numbers to regress to.
    """
    y, classes = columns["y"], columns["classes"]
    for name in ("ids", "classes", "splits"):
        texts = columns[name]
        if texts.ndim != 1 or texts.dtype.kind not in "US" or not _is_text(texts):
            raise DataError(f"{path}: {name} is {texts.dtype} {texts.shape}, not a list of texts")
    if y.ndim not in (1, 2) or y.dtype.kind not in "iufb":
        raise DataError(f"{path}: y is {y.dtype} {y.shape}, not labels")
    most = y.shape[1] if y.ndim == 2 else int(y.max(initial=-1)) + 1 if y.dtype.kind in "iu" else 0
    if most > len(classes) or (y.ndim == 2 and most != len(classes)):
        raise DataError(f"{path}: y has {most} classes, but {len(classes)} have names")
    if y.ndim == 2 and y.size and not -1 <= int(y.min()) <= int(y.max()) <= 1:
        raise DataError(f"{path}: y has numbers other than 1, 0 and -1")


def _is_text(texts: NDArray[Any]) -> bool:
    """Whether all characters are of Unicode: Python can't hold others, numpy can."""
    if texts.dtype.kind == "S" or not texts.dtype.itemsize or not texts.size:
        return True
    codes = np.ascontiguousarray(texts).view(f"{texts.dtype.str[0]}u4")
    return int(codes.max()) <= sys.maxunicode


def _sums(path: Path, comment: bytes) -> dict[str, str]:
    """The checksums in an archive's comment, by array; {} without a comment."""
    if not comment:
        return {}
    with path.open("rb") as file:
        file.seek(-len(comment) - 2, os.SEEK_END)
        length = int.from_bytes(file.read(2), "little")
    if length != len(comment):
        raise DataError(f"{path}: cut off", AGAIN)
    with whole(path, "damaged: its checksums can't be read"):
        sums: dict[str, str] = json.loads(comment)
        check_seal(path, sums)
        del sums["sha256"]
    return sums


def _check_sum(path: Path, name: str, array: NDArray[Any], sums: Mapping[str, str]) -> None:
    if array_sum(array) != sums.get(name):
        raise DataError(
            f"{path}: damaged: {name} does not have the sha256 that the file gives",
            "make it again; if it was changed on purpose, save it with numpy.savez",
        )


def _check(path: Path, table: Features, layers: LayerArrays) -> None:
    """Raises DataError if the arrays don't belong together."""
    mapped = {name: layers.mapped(name) for name in layers}
    counts = {name: len(array) for name, array in mapped.items()}
    counts |= {"y": len(table.y), "splits": len(table.splits)}
    for name, count in counts.items():
        if count != len(table.ids):
            raise DataError(f"{path}: {name} has {count} rows, ids has {len(table.ids)}")
    if not mapped:
        raise DataError(f"{path}: has no layer")
    for name, array in mapped.items():
        if array.ndim != 2 or array.dtype not in (np.float32, np.float16):
            raise DataError(f"{path}: {name} is {array.dtype} {array.shape}, not float (N, D)")


def _starts_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _content_start(path: Path, info: zipfile.ZipInfo) -> int:
    """Offset of a stored member's data: after its local header of 30 bytes, name and extra."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("a member's header is damaged")
    sizes = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return info.header_offset + 30 + sizes


class Spool:
    """Rows on their way into a features file: one .npy per layer, in a folder beside it.

    Rows are written at their own positions as they arrive, so memory stays constant and several
    processes can write into one spool. `finish` writes the file atomically.

    Args:
        out: the features file; folder: holds the rows, made by `spool_folder`.
        count: total number of rows.
    """

    def __init__(self, out: Path, folder: Path, count: int) -> None:
        self.out, self.folder, self.count = out, folder, count
        self._files: dict[str, tuple[IO[bytes], int]] = {}

    def write(
        self, rows: Sequence[int] | NDArray[np.int64], layers: Mapping[str, NDArray[Any]]
    ) -> None:
        """Writes layer name -> (n, D) to the given n rows; D and dtype must stay the same.

        Raises: DataError for a full disk.
        """
        with room(self.out):
            for name, values in layers.items():
                if name not in self._files:
                    self._files[name] = self._open(name, values)
                file, start = self._files[name]
                width = values[:1].nbytes
                # adjacent rows are written at once
                cuts = np.flatnonzero(np.diff(rows) != 1) + 1
                for run in np.split(np.arange(len(rows)), cuts):
                    if len(run):
                        file.seek(start + int(rows[run[0]]) * width)
                        file.write(np.ascontiguousarray(values[run]).data)

    def _open(self, name: str, values: NDArray[Any]) -> tuple[IO[bytes], int]:
        path = self.folder / f"{name.replace(os.sep, '_')}.npy"
        path.touch()  # "r+b" keeps what another process has written
        file = path.open("r+b")
        shape = (self.count, *values.shape[1:])
        npy.write_array_header_2_0(
            file, {"descr": values.dtype.str, "fortran_order": False, "shape": shape}
        )
        return file, file.tell()

    def close(self) -> None:
        """Writes buffered data to disk, and closes all files even if it is full: DataError."""
        files = [file for file, _ in self._files.values()]
        self._files.clear()
        with room(self.out), contextlib.ExitStack() as closing:
            for file in files:
                closing.callback(file.close)

    def arrays(self, layers: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The layers, memory-mapped read-only; all rows must have been written and closed."""
        files = {name: self.folder / f"{name.replace(os.sep, '_')}.npy" for name in layers}
        return {name: np.load(file, mmap_mode="r") for name, file in files.items()}

    def finish(self, layers: Sequence[str], rest: Features) -> None:
        """Writes the features file: the layers from the spool, everything else from `rest`."""
        files = {name: self.folder / f"{name.replace(os.sep, '_')}.npy" for name in layers}
        _write(self.out, rest, files)


@contextlib.contextmanager
def spool_folder(out: Path) -> Iterator[Path]:
    """Context with a new folder beside `out` for its rows, in which no other process writes `out`;
    removes what processes that were killed have left.

    Raises: DataError if the folder can't be written, or another process writes `out`.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    with sole_writer(out):
        folder = out.parent / f".{out.name}.parts"
        try:
            for old in out.parent.glob(f".{glob.escape(out.name)}.*parts"):
                shutil.rmtree(old, ignore_errors=True)
            for old in out.parent.glob(f".{glob.escape(out.name)}.*.tmp"):
                old.unlink(missing_ok=True)
            folder.mkdir()
        except OSError as error:
            raise _unwritable(out, error) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _unwritable(out: Path, error: OSError) -> DataError:
    return DataError(f"{out}: can't be written ({error.strerror})", "choose another -o")


def write_features(path: Path | str, features: Features) -> None:
    """Writes features that are in memory, atomically."""
    _write(Path(path), features, {})


def _write(path: Path, features: Features, files: Mapping[str, Path]) -> None:
    meta = {**features.meta, "format": FORMAT, "schema": SCHEMA}
    sums: dict[str, str] = {}
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as out,
    ):
        for name, file in files.items():
            with file.open("rb") as source, out.open(f"{name}.npy", "w", force_zip64=True) as to:
                shutil.copyfileobj(source, to, _BLOCK)
            sums[name] = array_sum(np.load(file, mmap_mode="r"))
        columns: dict[str, NDArray[Any]] = {
            **{n: a for n, a in features.layers.items() if n not in files},
            "y": features.y,
            "ids": features.ids,
            "classes": features.classes,
            "splits": features.splits,
            "meta": np.array(json.dumps(meta, ensure_ascii=False)),
        }
        for name, array in columns.items():
            with out.open(f"{name}.npy", "w", force_zip64=True) as to:
                npy.write_array(to, np.asanyarray(array), allow_pickle=False)
            if name != "meta":
                sums[name] = array_sum(np.asanyarray(array))
        out.comment = json.dumps(sealed(sums)).encode()
