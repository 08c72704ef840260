"""All runs in one flat table, for pandas or a spreadsheet: recipe, scores and environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfer.errors import XferError
from xfer.files import check_file, check_folder, replacing
from xfer.recipe.tables import flatten
from xfer.recipe.toml import load_recipe
from xfer.runs.listing import list_runs, read_json, read_result
from xfer.runs.tables import rows_to_csv, write_rows

_RESULT = ("steps", "best_step", "seconds", "images_per_second", "data_wait", "peak_memory_mb")


def flat_runs(folder: Path | str = "runs") -> list[dict[str, Any]]:
    """One row per run in a folder and below it, the newest first; every row has the same keys.

    run, state, date      | the folder; finished or unfinished; when it was last written, ISO 8601
    task ... run.seed     | every key of the recipe, lists as JSON
    val.NAME, test.NAME   | scores, fractions in 0..1; the ends of their interval, .low and .high
    steps, seconds ...    | numbers of result.json
    env.NAME              | device, versions and counts of env.json: env.versions.torch
    """
    rows = [_row(one) for one in list_runs(folder)]
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]


def _row(listed: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {key: listed.get(key) for key in ("run", "state", "date")}
    if listed["state"].startswith("damaged"):
        return row
    path = Path(listed["run"])
    row |= {key: _plain(v) for key, v in flatten(load_recipe(str(path / "recipe.toml"))).items()}
    result = read_result(path)
    row["primary"] = result.get("primary")
    for split, before in (("val", ""), ("test", "test_")):
        scores: dict[str, Any] = result.get(f"{before}metrics", {})
        row |= {f"{split}.{k}": v for k, v in scores.items() if not isinstance(v, (dict, list))}
        interval: dict[str, Any] = result.get(f"{before}interval") or {}
        name = f"{split}.{result.get('primary')}"
        row |= {f"{name}.{end}": interval[end] for end in ("low", "high") if end in interval}
    row |= {key: result[key] for key in _RESULT if key in result}
    environment = read_json(path / "env.json")
    return row | _inside("env", {k: v for k, v in environment.items() if k != "schema"})


def _inside(name: str, value: Any) -> dict[str, Any]:
    """{"versions": {"torch": "2"}} as {"env.versions.torch": "2"}; lists as JSON."""
    if isinstance(value, dict):
        inner = [_inside(f"{name}.{key}", one) for key, one in value.items()]
        return {key: one for part in inner for key, one in part.items()}
    return {name: _plain(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False)
    return value


def write_flat(rows: list[dict[str, Any]], out: Path) -> None:
    """Writes rows as csv or parquet, by the name's ending.

    In parquet a column whose values are of several types holds them as text.
    Raises: XferError for another ending, and if parquet is asked for without pyarrow.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise XferError(f"--out {out}: csv or parquet", "FILE.csv or FILE.parquet")
    check_file(out)
    check_folder(out.absolute().parent)
    if out.suffix == ".csv":
        write_rows(out, rows)
        return
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise XferError(f"{out}: parquet needs pyarrow", "pip install 'xfer[parquet]'") from None
    columns = {key: _one_type([row[key] for row in rows]) for key in rows[0]}
    with replacing(out) as temporary:
        parquet.write_table(pa.table(columns), temporary)


def _one_type(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and not any(
        isinstance(v, int) and abs(v) >= 1 << 53 for v in values if v is not None
    ):
        return [float(v) if v is not None and float in kinds else v for v in values]
    if len(kinds) > 1 or any(isinstance(v, int) and abs(v) >= 1 << 63 for v in values):
        return [None if value is None else str(value) for value in values]
    return values


def flat_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as csv text, without a last line break."""
    return rows_to_csv(rows).rstrip("\n")
