"""Reads the JSON files of a run, and checks that their fields are of the types that runs write.

Who reads them then needs no checks of its own. Fields that a file of an earlier version lacks, and
those that nobody here knows, are as the file has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfer.errors import DataError
from xfer.files import NOTE, TABLE, check_fields, check_schema, json_of, text_of

SCHEMA = 1
NUMBER = (int, float)
Types = Mapping[str, type | tuple[type, ...]]

_RESULT: Types = {
    "task": str, "backbone": str, "data": str, "recipe": str, "primary": str, "seed": int,
    "metrics": dict, "test_metrics": dict, "interval": dict, "test_interval": dict,
    "calibration": dict, "protocol": dict, "best_step": int, "steps": int,
    "seconds": NUMBER, "images_per_second": NUMBER, "data_wait": NUMBER,
    "peak_memory_mb": NUMBER,
}  # fmt: skip
_ENVIRONMENT: Types = {
    "data_format": str, "data_notes": list, "data_fingerprint": (str, type(None)), "skipped": list,
}  # fmt: skip
_ROLES = ("train", "val", "test")
_EVENT: Types = {"event": str, "step": int}
_OF_EVENT: Types = {"epoch": NUMBER, "losses": dict, "metrics": dict}


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
    return about


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
            events.append(check_fields(path, json.loads(line), _EVENT, _OF_EVENT))
        except (ValueError, RecursionError, DataError):
            continue
    return events
