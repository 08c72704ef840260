"""`parquet`: Hugging Face's tables of pictures, data/train-00000-of-00294.parquet, read in place.

A column of pictures, struct(bytes, path), and one of labels, whole numbers or -1. Labels and paths
are read on their own; a picture's bytes are read with its whole row group, so training is fastest
with `data.window`, or from a pack. Needs pyarrow: `pip install xfer[parquet]`.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError, decode
from xfer.data.images.walk import is_junk, listing
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.sources.base import sample_label
from xfer.data.sources.files import PROBE_SIDE
from xfer.data.sources.index_file import Entries, Index, kept_index, state_of
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.data.sources.wordnet import numbered, same_names, with_wnids
from xfer.errors import DataError, XferError
from xfer.types import DataInfo, Sample

KEPT_GROUPS = 4
_OF = re.compile(r"(.+)-(\d+)-of-(\d+)\.parquet")


@FORMATS.register("parquet")
class Parquet:
    """Tables with a column of pictures, a file or a folder of them."""

    kinds: ClassVar[tuple[str, ...]] = ("classify", "images")
    low_priority: ClassVar[bool] = True
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        files = find_tables(path)
        # img2dataset writes one next to each of its shards, without pictures in it
        beside = {f.with_suffix(".tar").is_file() or f.with_suffix("").is_dir() for f in files}
        return f"{len(files)} parquet files" if files and beside == {False} else None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        files = find_tables(path)
        if not files:
            raise DataError(f"{path}: no .parquet in it", "put the files there or into data/")
        root = path if path.is_dir() else path.parent
        splits: dict[str, list[Path]] = {}
        for file in files:
            match = _OF.fullmatch(file.name)
            words = re.findall(r"[A-Za-z]+", match[1] if match else file.stem)
            name = next((w for w in words if role_of(w)), WHOLE)
            splits.setdefault(name, []).append(file)
        if path.is_dir():
            _check_all_there(files)
        parts: dict[str, ParquetSource] = {}
        for split, some in splits.items():
            states = ["parquet", str(root.absolute()), *map(state_of, some)]
            index = kept_index(states, lambda some=some: _entries(root, some))
            labelled = bool((index.labels >= 0).any())
            kind = "classify" if labelled else "images"
            classes = index.classes if labelled else ()
            info = DataInfo(root.name, kind, classes, role_of(split) or split)
            parts[split] = ParquetSource(info, root, index)
        same_names(parts)
        notes = ["pictures are read with their row groups: `xfer data pack` makes training faster"]
        for part in parts.values():
            notes += [note for note in part.index.notes if note not in notes]
        return Reading({**parts}, notes)


class ParquetSource:
    """Pictures of a split; the most recently read row groups stay in memory.

    Args: info; root: the folder of the files; index: `start` is the row group, `length` the row.
    """

    def __init__(self, info: DataInfo, root: Path, index: Index) -> None:
        self.info, self.root, self.index = info, Path(root), index
        self.ids = index.ids
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i, decoded no larger than `short_side` asks for."""
        i = range(len(self))[i]
        name = self.ids[i]
        file = self.root / self.index.files[int(self.index.file[i])]
        encoded = self.raw(i)
        if not encoded:
            raise DecodeError(f"no bytes in {file}", name)
        try:
            image = decode(encoded, short_side)
        except DecodeError as error:
            raise DecodeError(f"{error.reason} (in {file})", name) from error.__cause__
        return Sample(name, image, sample_label(self.index.labels[i]))

    def verify(self, i: int) -> None:
        """Raises DecodeError if picture i can't be decoded."""
        self.read(i, PROBE_SIDE)

    def raw(self, i: int) -> bytes:
        """Picture i as it is stored; b"" if there is nothing."""
        data = self._group(int(self.index.file[i]), int(self.index.start[i]))
        return data[int(self.index.length[i])].as_py() or b""

    def labels(self) -> NDArray[np.int64]:
        return self.index.labels

    def stored(self) -> NDArray[np.int64]:
        """The indices in the order in which their pictures are stored."""
        return np.lexsort((self.index.length, self.index.start, self.index.file))

    def fingerprint(self) -> str:
        return self.index.digest

    def _group(self, file: int, group: int) -> Any:
        """The pictures' bytes of a row group. One thread reads it, others that need it wait."""
        with self._lock:
            rows = self._groups.get((file, group))
            if rows is None:
                path = self.root / self.index.files[file]
                table = _open(path)
                column = _columns(path, table)[0]
                read = _read(path, table, group, [f"{column}.bytes"])
                rows = read.column(0).combine_chunks().field("bytes")
                self._groups[file, group] = rows
                while len(self._groups) > KEPT_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end((file, group))
            return rows

    def __getstate__(self) -> dict[str, Any]:
        return {"info": self.info, "root": self.root, "index": self.index}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ParquetSource.__init__(self, state["info"], state["root"], state["index"])


def find_tables(path: Path) -> list[Path]:
    """The parquet files of a folder and its data/, or the path itself if it is one."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    entries = [e for folder in (path, path / "data") for e in listing(folder)]
    return [Path(e.path) for e in entries if e.name.endswith(".parquet") and not is_junk(e.name)]


def _check_all_there(files: list[Path]) -> None:
    """Raises DataError naming a missing file of train-00000-of-00294.parquet and so on."""
    there = {f.name for f in files}
    for name in sorted(there):
        match = _OF.fullmatch(name)
        if match is None:
            continue
        width = len(match[2])
        for k in range(int(match[3])):
            expected = f"{match[1]}-{k:0{width}d}-of-{match[3]}.parquet"
            if expected not in there:
                raise DataError(f"{files[0].parent}: {expected} is missing", "download it again")


def _open(path: Path) -> Any:
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise XferError(
            f"{path}: reading it needs pyarrow", "pip install 'xfer[parquet]'"
        ) from None
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        why = str(error).splitlines()[0][:100]
        raise DataError(f"{path}: cut off or damaged ({why})", "download it again") from None


def _read(path: Path, table: Any, group: int, columns: list[str]) -> Any:
    try:
        return table.read_row_group(group, columns=columns)
    except (OSError, ValueError) as error:  # Arrow's errors are of these kinds
        why = str(error).partition("\n")[0][:100]
        raise DataError(
            f"{path}: row group {group}: damaged ({why})", "download it again"
        ) from None


def _has_path(table: Any, pictures: str) -> bool:
    return "path" in [f.name for f in table.schema_arrow.field(pictures).type]


def _columns(path: Path, table: Any) -> tuple[str, str]:
    """Names of the columns of pictures and of labels ("" if there is none)."""
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    pictures, label = "", ""
    for field in table.schema_arrow:
        is_struct = pa.types.is_struct(field.type)
        if is_struct and "bytes" in [f.name for f in field.type] and not pictures:
            pictures = field.name
        if pa.types.is_integer(field.type) and field.name in ("label", "labels", "fine_label"):
            label = label or field.name
    if not pictures:
        listed = ", ".join(table.schema_arrow.names)
        raise DataError(f"{path}: no column of pictures (bytes, path)", f"it has {listed}")
    return pictures, label


def _entries(root: Path, files: list[Path]) -> Entries:
    entries = Entries(files=[f.relative_to(root).as_posix() for f in files])
    names: list[str] = []
    paths: list[str] = []
    for number, file in enumerate(files):
        table = _open(file)
        pictures, label = _columns(file, table)
        names = names or _class_names(table, label)
        columns = [f"{pictures}.path"] if _has_path(table, pictures) else []
        columns += [label] if label else []
        for group in range(table.num_row_groups):
            read = _read(file, table, group, columns)
            own_paths = [None] * table.metadata.row_group(group).num_rows
            if pictures in read.column_names:  # otherwise there are bytes without paths
                own_paths = read.column(pictures).combine_chunks().field("path").to_pylist()
            labels = read.column(label).to_pylist() if label else [-1] * len(own_paths)
            for row, (path, value) in enumerate(zip(own_paths, labels, strict=True)):
                value = -1 if value is None else int(value)
                if value < -1 or (names and value >= len(names)):
                    raise DataError(
                        f"{file}: row {row} of group {group}: label {value} is out of range",
                        f"it has {len(names)} classes",
                    )
                place = f"{file.stem}/{group:04d}-{row:05d}"
                entries.add(f"{place}-{path}" if path else place, value, number, group, row)
                paths.append(path or "")
    if not entries.ids:
        raise DataError(f"{root}: no rows in its parquet files")
    names = names or numbered(entries.labels, entries.ids, root)
    entries.classes = _unique(with_wnids(names, entries.labels, paths))
    return entries


def _class_names(table: Any, label: str) -> list[str]:
    """Hugging Face's class names, from the file's metadata about its columns."""
    note = (table.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(note)["info"]["features"]
        return [str(n) for n in features[label]["names"]]
    except (ValueError, KeyError, TypeError):
        return []


def _unique(names: list[str]) -> list[str]:
    """Append its number to each name that occurs twice, such as `crane`."""
    return [f"{n} ({k})" if names.count(n) > 1 else n for k, n in enumerate(names)]
