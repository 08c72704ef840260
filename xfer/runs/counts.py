"""predictions/SPLIT.npz of a run: its scores' counts per picture, for tests and intervals.

By them two runs are compared on the same pictures. Runs of earlier versions lack the file; of
theirs the predictions' table is read, which tells what is right for classifiers.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.npz import read_npz
from xfer.errors import DataError, whole
from xfer.files import TABLE, check_schema, is_file, replacing, text_of
from xfer.metrics.interval import counts_of
from xfer.metrics.resampled import Ranked, Ratios, read

SCHEMA = 1


def write_counts(run: Path, split: str, metric: Any) -> None:
    """Writes the counts of a metric's primary score, if it has any."""
    found = counts_of(metric)
    if found is None:
        return
    ids, counts = found
    named = np.frombuffer(json.dumps(ids).encode(), np.uint8)
    path = run / "predictions" / f"{split}.npz"
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, schema=np.array(SCHEMA), ids=named,
            figure=np.array(metric.primary), **counts.arrays(),
        )  # fmt: skip


def read_counts(run: Path, split: str, figure: str) -> tuple[list[str], Ratios | Ranked] | None:
    """The pictures' ids and the counts of this score; None if the run keeps none of it.

    Raises: DataError for a damaged file.
    """
    path = run / "predictions" / f"{split}.npz"
    if not is_file(path):
        return _of_table(path.with_suffix(".csv"), figure)
    with whole(path, "damaged"):
        arrays = read_npz(path)
        check_schema(path, arrays["schema"].tolist(), SCHEMA)
        if str(arrays["figure"]) != figure:
            return None
        ids, counts = json.loads(arrays["ids"].tobytes()), read(arrays)
        if len(ids) != counts.pictures or not all(isinstance(name, str) for name in ids):
            raise DataError("its ids are not those of its counts")
    return ids, counts


def _of_table(path: Path, figure: str) -> tuple[list[str], Ratios] | None:
    """From predictions/SPLIT.csv: top1 by its column `correct`."""
    if figure != "top1" or not is_file(path):
        return None
    with whole(path, "damaged"):
        rows = list(csv.DictReader(io.StringIO(text_of(path, TABLE))))
        if not rows or not {"id", "correct"} <= rows[0].keys():
            return None
        values = np.array([float(row["correct"] or math.nan) for row in rows])
    return [row["id"] for row in rows], Ratios.of_values(values)
