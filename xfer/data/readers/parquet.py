"""`parquet`: Hugging Face's tables of pictures, data/train-00000-of-00294.parquet, read in place.

A column of pictures and one of labels, whole numbers (-1: none) or text, see `parquet_columns`; a
column called split divides the rows. Labels and paths are read on their own; a picture's bytes are
read with its whole row group, so training is fastest with `data.window`, or from a pack. Needs
pyarrow: `pip install xfer[parquet]`.
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
from xfer.data.readers.parquet_columns import Columns, find_columns
from xfer.data.readers.table.splits import split_of_words
from xfer.data.sources import door
from xfer.data.sources.base import sample_label
from xfer.data.sources.files import PROBE_SIDE
from xfer.data.sources.index_file import Entries, Index, kept_index, state_of
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.data.sources.wordnet import numbered, same_names, with_wnids
from xfer.errors import DataError, XferError, reader
from xfer.files import GB, NotAFile, no_file
from xfer.types import DataInfo, Sample

KEPT_GROUPS = 4
MAX_GROUP = 4 * GB  # unpacked
_OF = re.compile(r"(.+)-(\d+)-of-(\d+)\.parquet")


@FORMATS.register("parquet")
class Parquet:
    """Tables with a column of pictures, a file or a folder of them."""

    kinds: ClassVar[tuple[str, ...]] = ("classify", "images")
    low_priority: ClassVar[bool] = True
    takes_images: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ("path", "label", "split")

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
        first = next((some for name, some in splits.items() if role_of(name) == "train"), files)[0]
        columns = find_columns(first, _open(first), options.path, options.label, options.split)
        reading = Reading({})
        parts: dict[str, ParquetSource] = {}
        for split, some in splits.items():
            for name, values in _values(some, split, columns).items():
                parts[name] = _part(root, name, some, columns, values, options.verify)
        same_names(parts)
        reading.parts.update(parts)
        reading.notes.append(
            "pictures are read with their row groups: `xfer data pack` makes training faster"
        )
        for part in parts.values():
            reading.notes.extend(n for n in part.index.notes if n not in reading.notes)
        reading.leave("column", "columns", columns.unused)
        if not columns.label and columns.unused:
            reading.notes.append("no column is read as the label: data.label=COLUMN names one")
        return reading


def _part(
    root: Path,
    name: str,
    files: list[Path],
    columns: Columns,
    values: tuple[str, ...],
    verify: bool,
) -> ParquetSource:
    """The source of one split. Args: values: of the column of splits; none: all rows."""
    about = [columns.pictures, columns.label, columns.split, *values]
    states = ["parquet", str(root.absolute()), *about, *map(state_of, files)]
    index = kept_index(states, lambda: _entries(root, files, columns, values), verify)
    labelled = bool((index.labels >= 0).any())
    kind = "classify" if labelled else "images"
    classes = index.classes if labelled else ()
    info = DataInfo(root.name, kind, classes, role_of(name) or name)
    return ParquetSource(info, root, index, columns.pictures)


def _values(files: list[Path], split: str, columns: Columns) -> dict[str, tuple[str, ...]]:
    """Split -> the values of the column of splits that mean it; all rows if there is no column."""
    if not columns.split:
        return {split: ()}
    words: dict[str, None] = {}
    for file in files:
        table = _open(file)
        for group in range(table.num_row_groups):
            read = _read(file, table, group, [columns.split])
            if not read.num_columns:
                raise DataError(f"{file}: no column {columns.split!r}, which other files have")
            words.update(dict.fromkeys(str(v) for v in read.column(0).to_pylist()))
    names = split_of_words([*words])
    return {name: tuple(w for w in words if names[w] == name) for name in names.values()}


class ParquetSource:
    """Pictures of a split; the most recently read row groups stay in memory.

    Args: info; root: the folder of the files; index: `start` is the row group, `length` the row;
        column: that of the pictures.
    """

    def __init__(self, info: DataInfo, root: Path, index: Index, column: str) -> None:
        self.info, self.root, self.index, self.column = info, Path(root), index, column
        self.ids = index.ids
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    @door.sample
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

    @door.sample
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
                struct = table.schema_arrow.field(self.column).type.num_fields > 0
                wanted = f"{self.column}.bytes" if struct else self.column
                rows = _read(path, table, group, [wanted]).column(0).combine_chunks()
                rows = rows.field("bytes") if struct else rows
                self._groups[file, group] = rows
                while len(self._groups) > KEPT_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end((file, group))
            return rows

    def __getstate__(self) -> dict[str, Any]:
        return {
            "info": self.info, "root": self.root, "index": self.index, "column": self.column,
        }  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        ParquetSource.__init__(self, **state)


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


@reader
def _open(path: Path) -> Any:
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise XferError(
            f"{path}: reading it needs pyarrow", "pip install 'xfer[parquet]'"
        ) from None
    if what := no_file(path):
        raise NotAFile(path, what)
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        why = str(error).splitlines()[0][:100]
        raise DataError(f"{path}: cut off or damaged ({why})", "download it again") from None


@reader
def _read(path: Path, table: Any, group: int, columns: list[str]) -> Any:
    size = table.metadata.row_group(group).total_byte_size
    if not 0 <= size <= MAX_GROUP:
        raise DataError(
            f"{path}: row group {group} has {size:,} bytes, where at most {MAX_GROUP:,} are read",
            "write it again with smaller row groups",
        )
    try:
        return table.read_row_group(group, columns=columns)
    except (OSError, ValueError) as error:  # Arrow's errors are of these kinds
        why = str(error).partition("\n")[0][:100]
        raise DataError(
            f"{path}: row group {group}: damaged ({why})", "download it again"
        ) from None


def _entries(
    root: Path, files: list[Path], columns: Columns, values: tuple[str, ...] = ()
) -> Entries:
    """The rows of some files. Args: values: of the column of splits; none: all rows."""
    entries = Entries(files=[f.relative_to(root).as_posix() for f in files])
    names: list[str] = []
    paths: list[str] = []
    texts: list[str] = []
    for number, file in enumerate(files):
        table = _open(file)
        own, size = table.schema_arrow.names, file.stat().st_size
        for name in (columns.pictures, columns.split):
            if name and name not in own:
                raise DataError(f"{file}: no column {name!r}, which other files have")
        label = columns.label if columns.label in own else ""  # a test split may have none
        names = names or ([] if columns.text else _class_names(table, label))
        wanted = [f"{columns.pictures}.path"] if columns.paths else []
        wanted += [name for name in (label, columns.split if values else "") if name]
        for group in range(table.num_row_groups):
            read = _read(file, table, group, wanted)
            count = table.metadata.row_group(group).num_rows
            if not 0 <= count <= size:  # a picture takes a byte at the least
                raise DataError(f"{file}: row group {group}: damaged (it says {count:,} rows)")
            own_paths = [None] * count
            if columns.paths and columns.pictures in read.column_names:
                own_paths = read.column(columns.pictures).combine_chunks().field("path").to_pylist()
            labels = read.column(label).to_pylist() if label else [None] * count
            splits = read.column(columns.split).to_pylist() if values else [None] * count
            for row in range(count):
                if values and str(splits[row]) not in values:
                    continue
                path, place = own_paths[row], f"{file.stem}/{group:04d}-{row:05d}"
                value = -1 if columns.text else _number(file, group, row, labels[row], names)
                entries.add(f"{place}-{path}" if path else place, value, number, group, row)
                paths.append(path or "")
                texts.append(_text(labels[row]) if columns.text else "")
    if not entries.ids:
        raise DataError(f"{root}: no rows in its parquet files")
    if columns.text:
        entries.classes = sorted(set(texts) - {""})
        at = {name: k for k, name in enumerate(entries.classes)}
        entries.labels = [at.get(text, -1) for text in texts]
        return entries
    names = names or numbered(entries.labels, entries.ids, root)
    entries.classes = _unique(with_wnids(names, entries.labels, paths))
    return entries


def _number(file: Path, group: int, row: int, value: Any, names: list[str]) -> int:
    """A label that is a number, -1 for none."""
    whole = -1 if value is None or value != value else int(value)  # nan is not itself
    if value is not None and value == value and whole != value:
        raise DataError(
            f"{file}: row {row} of group {group}: label {value} is no whole number",
            "decimal numbers are no classes; data.label=COLUMN names another column",
        )
    if whole < -1 or (names and whole >= len(names)):
        raise DataError(
            f"{file}: row {row} of group {group}: label {whole} is out of range",
            f"it has {len(names)} classes",
        )
    return whole


def _text(value: Any) -> str:
    """A label that is text, "" for none; a yes or no as JSON has it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


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
