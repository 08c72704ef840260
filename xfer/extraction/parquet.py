"""Features as a .parquet, for programs that read tables. Needs the extra `xfer[parquet]`.

column  | type                  | meaning
id      | string                | the picture's name
split   | string                | train, val or test
label   | int64, or list<int8>  | as `y` of a features file
class   | string                | the label's name, null where unlabelled; not in multi-label data
<layer> | list<float or half>, of one length | one column per layer

The schema's metadata has "xfer": the JSON text of `meta`, with "classes".
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, XferError, reader, whole
from xfer.extraction.store import Features
from xfer.files import replacing

_ROWS = 1024


def check_parquet() -> None:
    """Raises XferError if pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise XferError(
            ".parquet needs pyarrow, which is not installed",
            "pip install 'xfer[parquet]', or use -o FILE.npz",
        )


def write_parquet(path: Path, features: Features) -> None:
    """Writes features in row groups of 1,024, atomically. Raises XferError."""
    check_parquet()
    import pyarrow as pa  # pyright: ignore[reportMissingImports]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    meta = {**features.meta, "classes": features.classes.tolist()}
    single = features.y.ndim == 1
    names = np.array([*features.classes.tolist(), None], object)

    def table(rows: slice) -> Any:
        y = features.y[rows]
        columns: dict[str, Any] = {
            "id": pa.array(features.ids[rows].tolist(), pa.string()),
            "split": pa.array(features.splits[rows].tolist(), pa.string()),
            "label": pa.array(y) if single else _lists(pa, y),
        }
        if single:
            columns["class"] = pa.array(names[y].tolist(), pa.string())
        columns |= {name: _lists(pa, array[rows]) for name, array in features.layers.items()}
        block = pa.table(columns)
        return block.replace_schema_metadata({"xfer": json.dumps(meta, ensure_ascii=False)})

    with replacing(path) as temporary:
        schema = table(slice(0, 1)).schema
        with pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
            for start in range(0, len(features), _ROWS):
                writer.write_table(table(slice(start, start + _ROWS)))


class _Columns(Mapping[str, NDArray[Any]]):
    """The layers of a .parquet, each read whole when it is used."""

    def __init__(self, path: Path, names: list[str], verify: bool) -> None:
        self._path, self._names, self._verify = path, names, verify

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        with whole(self._path, "damaged"):
            table = _opened(self._path, self._verify).read([name])
            return _matrix(self._path, name, table)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@reader
def read_parquet(path: Path, verify: bool = True) -> Features:
    """Reads what `write_parquet` has written; the layers stay on disk until they are used.

    Args: verify: compare the checksums of what is read.

    Raises: DataError for a file that is missing, damaged, or written by another program.
    """
    check_parquet()
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    try:
        file = _opened(path, verify)
        about = json.loads((file.schema_arrow.metadata or {}).get(b"xfer", b"null"))
        lacks = {"id", "split", "label"} - set(file.schema_arrow.names)
        if not isinstance(about, dict) or lacks:
            raise DataError(f"{path}: not written by `xfer features`")
        classes = about.pop("classes", None)
        if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
            raise DataError(f"{path}: damaged: its classes are no list of names")
        table = file.read(["id", "split", "label"])
        label = table.column("label")
        several = pa.types.is_list(label.type) or pa.types.is_fixed_size_list(label.type)
        y = _matrix(path, "label", table) if several else label.to_numpy()
        texts = [np.array(table.column(c).to_pylist(), np.str_) for c in ("id", "split")]
        known = ("id", "split", "label", "class")
        layers = [name for name in file.schema_arrow.names if name not in known]
        names = np.array(classes, np.str_)
        return Features(_Columns(path, layers, verify), y, texts[0], names, texts[1], about)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: damaged ({str(error).splitlines()[0][:200]})") from error


def _opened(path: Path, verify: bool) -> Any:
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    return pq.ParquetFile(path, page_checksum_verification=verify)


def _matrix(path: Path, name: str, table: Any) -> NDArray[Any]:
    """A column of lists of one length as (n, D)."""
    column = table.column(name).combine_chunks()
    width = getattr(column.type, "list_size", 0)
    flat = column.flatten().to_numpy()
    if not width or len(flat) != width * len(column):
        raise DataError(f"{path}: damaged: the lists of {name} have several lengths")
    return flat.reshape(len(column), width)


def _lists(pa: Any, values: NDArray[Any]) -> Any:
    """(n, D) as n lists of D numbers."""
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
