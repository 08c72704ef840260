"""Reads the JSON files of a run, and checks that their fields are of the types that runs write.

Who reads them then needs no checks of its own. Fields that a file of an earlier version lacks, and
those that nobody here knows, are as the file has them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from xfer.errors import DataError
from xfer.files import NOTE, TABLE, check_fields, check_schema, json_of, text_of

SCHEMA = 1
NUMBER = (int, float)
Types = Mapping[str, type | tuple[type, ...]]

_RESULT: Types = {
    "task": str, "backbone": str, "data": str, "recipe": str, "primary": str, "seed": int,
    "metrics": dict, "test_metrics": dict, "interval": dict, "test_interval": dict,
    "calibration": dict, "baselines": dict, "protocol": dict, "best_step": int, "steps": int,
    "seconds": NUMBER, "images_per_second": NUMBER, "data_wait": NUMBER,
    "peak_memory_mb": NUMBER,
}  # fmt: skip
_INTERVAL: Types = {"low": NUMBER, "high": NUMBER, "method": str}
_MAYBE = (*NUMBER, type(None))
_CALIBRATION: Types = {"ece": NUMBER, "ece_calibrated": _MAYBE, "temperature": NUMBER}
_OF_CALIBRATION: Types = {"bins": list, "method": str, "n": int}
_BIN: Types = {"low": NUMBER, "high": NUMBER, "confidence": NUMBER, "accuracy": NUMBER, "n": int}
_BASELINES: Types = {
    "majority": dict, "predicted_classes": int, "true_classes": int, "chance_loss": NUMBER,
}  # fmt: skip
_MAJORITY: Types = {"class": str, "score": NUMBER}
_TABLES = ("per_class", "errors", "error_counts")
_ENVIRONMENT: Types = {
    "data_format": str, "data_notes": list, "data_fingerprint": (str, type(None)), "skipped": list,
}  # fmt: skip
_ROLES = ("train", "val", "test")
_EVENT: Types = {"event": str, "step": int}
_OF_EVENT: Types = {
    "epoch": NUMBER, "losses": dict, "metrics": dict, "loss": _MAYBE, "lr": _MAYBE,
    "seconds": _MAYBE, "images_per_second": _MAYBE, "data_wait": _MAYBE, "memory_mb": _MAYBE,
}  # fmt: skip
_NEEDED: Mapping[str, Types] = {"eval": {"metrics": dict}}


def read_json(path: Path) -> dict[str, Any]:
    """The object in one of a run's JSON files, which is known by its name.

    Raises: DataError if it is damaged, FileNotFoundError.
    """
    long = path.name == "split.json"  # it lists the pictures
    content = json_of(path, TABLE if long else NOTE)
    known = {"result.json": _RESULT, "env.json": _ENVIRONMENT}.get(path.name, {})
    about = check_fields(path, content, {}, known)
    if "schema" in about:
        check_schema(path, about["schema"], SCHEMA)
    if long:
        _check_splits(path, about)
    if path.name == "result.json":
        _check_result(path, about)
    return about


def _check_result(path: Path, result: dict[str, Any]) -> None:
    """What lies within the tables of a result.json, and that its numbers can be shown."""
    for name in ("interval", "test_interval"):
        if result.get(name):
            check_fields(f"{path}: {name}", result[name], _INTERVAL)
            check_fields(path, result, {"primary": str})
    calibration = result.get("calibration")
    if calibration:
        check_fields(f"{path}: calibration", calibration, _CALIBRATION, _OF_CALIBRATION)
        for one in calibration.get("bins", ()):
            check_fields(f"{path}: calibration", one, _BIN)
    baselines = result.get("baselines")
    if baselines:
        check_fields(f"{path}: baselines", baselines, _BASELINES, {"centroid": dict})
        check_fields(f"{path}: baselines", baselines["majority"], _MAJORITY)
        if "centroid" in baselines:
            check_fields(f"{path}: baselines", baselines["centroid"], {"score": NUMBER})
    for name in ("metrics", "test_metrics"):
        _check_scores(f"{path}: {name}", result.get(name, {}), result.get("primary", ""))
    if _too_large(result):
        raise DataError(f"{path}: damaged (a number of more than 308 digits)")


def _check_scores(place: str, scores: dict[str, Any], primary: str) -> None:
    """Scores by name. Those of a metric of one's own may be anything but the primary one."""
    check_fields(place, scores, {}, {primary: _MAYBE, **dict.fromkeys(_TABLES, dict)})
    for name, table in scores.items():
        if name in _TABLES:
            rows = table.values() if name == "per_class" else [table]
            for row in rows:
                keys = row if isinstance(row, dict) else ()
                check_fields(f"{place}: {name}", row, {}, dict.fromkeys(keys, _MAYBE))


def _too_large(values: Mapping[str, Any]) -> bool:
    """Whether an integer among plain values is beyond what a float holds."""
    return any(abs(number) > sys.float_info.max for number in _whole_numbers(values))


def _whole_numbers(value: Any) -> Iterator[int]:
    """The integers in plain values, however deep."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, (dict, list)):
        within = cast("Iterable[Any]", value.values() if isinstance(value, dict) else value)
        for one in within:
            yield from _whole_numbers(one)


def _check_splits(path: Path, splits: dict[str, Any]) -> None:
    """split.json: role -> the pictures' ids, or {"images": n, "fingerprint": hex} of very many."""
    for role, entry in splits.items():
        if role not in _ROLES:
            raise DataError(f"{path}: damaged ({role!r:.40} is none of {', '.join(_ROLES)})")
        if isinstance(entry, list):
            good = all(isinstance(name, str) for name in entry)
        else:
            good = isinstance(entry, dict) and isinstance(entry.get("images"), int)
        if not good:
            raise DataError(f"{path}: damaged ({role} is neither names nor a number of pictures)")


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a log.jsonl, in order; [] without one. A line that is no event, as the last one
    after a crash, is left out. Raises: DataError for what is no text file
    and for one that can't be read."""
    events: list[dict[str, Any]] = []
    try:
        lines = text_of(path, TABLE, errors="replace").splitlines()
    except FileNotFoundError:
        return events
    except OSError as error:  # a link that leads to itself, a file that we may not read
        raise DataError(f"{path}: {error.strerror or error}") from None
    for line in lines:
        try:
            event = check_fields(path, json.loads(line), _EVENT, _OF_EVENT)
            check_fields(path, event, _NEEDED.get(event["event"], {}))
            if not _too_large(event):
                events.append(event)
        except (ValueError, RecursionError, DataError):
            continue
    return events
