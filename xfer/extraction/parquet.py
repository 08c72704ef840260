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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import XferError
from xfer.extraction.store import Features
from xfer.files import replacing

_ROWS = 1024


def check_parquet() -> None:
    """Raises XferError if pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise XferError(
            "writing .parquet needs pyarrow, which is not installed",
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
        with pq.ParquetWriter(temporary, schema) as writer:
            for start in range(0, len(features), _ROWS):
                writer.write_table(table(slice(start, start + _ROWS)))


def _lists(pa: Any, values: NDArray[Any]) -> Any:
    """(n, D) as n lists of D numbers."""
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
