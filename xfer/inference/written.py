"""Predictions written as they come: as csv, json or COCO results, to a file or a stream."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any, Protocol

from xfer.errors import XferError
from xfer.inference.predictions import Predictions
from xfer.runs.plain_json import JsonList

FORMATS = ("csv", "json", "coco")
ENDINGS = {"csv": ".csv", "json": ".json", "coco": ".json"}


class Writer(Protocol):
    """Takes predictions, a group after the other, and `end` once."""

    def add(self, predictions: Predictions) -> None: ...
    def end(self) -> None: ...


def writer(format: str, write: Callable[[str], Any]) -> Writer:
    """What writes a format. Args: write: gets the text, piece by piece."""
    makers: dict[str, Callable[[Callable[[str], Any]], Writer]] = {
        "csv": _Csv, "json": _Json, "coco": _Coco
    }  # fmt: skip
    if format not in makers:
        raise XferError(f"--format {format}: unknown", "choose table, json, csv or coco")
    return makers[format](write)


class _Json:
    def __init__(self, write: Callable[[str], Any]) -> None:
        self._list = JsonList(write)

    def add(self, predictions: Predictions) -> None:
        self._list.add(predictions.to_json())

    def end(self) -> None:
        self._list.end()


class _Coco:
    """A list of results, or {"annotations": [...]} of segments."""

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write
        self._list: JsonList | None = None

    def add(self, predictions: Predictions) -> None:
        results = predictions.to_coco()
        key = next(iter(results)) if isinstance(results, dict) else ""
        if self._list is None:
            self._list = JsonList(self._write, key)
        self._list.add(results[key] if key else results)

    def end(self) -> None:
        (self._list or JsonList(self._write)).end()


class _Csv:
    """Lines under one header; a group may have none, as of pictures without boxes."""

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write
        self._columns: list[str] = []

    def add(self, predictions: Predictions) -> None:
        kind, classes = predictions.kind, predictions.task.info.classes
        columns, lines = kind.csv_rows(predictions.items, classes)
        rows = csv.writer(_Stream(self._write), lineterminator="\n")
        if not self._columns and columns:
            self._columns = columns
            rows.writerow(columns)
        for line in lines:
            rows.writerow([line.get(name, "") for name in self._columns])

    def end(self) -> None:
        """Nothing closes a csv file."""


class _Stream:
    def __init__(self, write: Callable[[str], Any]) -> None:
        self.write = write
