"""Output of commands: a document for programs, or tables and lines for people."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xfer.errors import printable
from xfer.exit_codes import is_main

# what JSON leaves as it is and a terminal may obey
_ESCAPED = {n: f"\\u{n:04x}" for n in range(127, 160)}


@dataclass(frozen=True, slots=True)
class Show:
    """Prints a command's output: results to stdout, notes to stderr.

    json      | print only a JSON document on stdout
    verbosity | -1 quiet, 0 normal, 1 more
    """

    json: bool = False
    verbosity: int = 0

    def note(self, text: str) -> None:
        """A note: what was found or chosen. Warnings are printed with -q as well."""
        if (self.verbosity >= 0 or text.startswith("warning: ")) and is_main():
            print(printable(text), file=sys.stderr)

    def left_out(self, pictures: Iterable[Sequence[str]]) -> None:
        """Notes on pictures that can't be used. Args: pictures: (file, reason) of each."""
        for file, reason in pictures:
            self.note(f"left out: {file}: {reason}")

    def text(self, text: str) -> None:
        """The result, as plain text."""
        if is_main():
            print(printable(text))

    def document(self, value: Any) -> None:
        """The result, as JSON; non-finite numbers become null."""
        if is_main():
            text = json.dumps(_plain(value), indent=1, ensure_ascii=False)
            print(text.translate(_ESCAPED))

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
        """Rows as a table, numbers aligned right. In a pipe, nothing is truncated."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        if not is_main():
            return
        names = list(columns or dict.fromkeys(key for row in rows for key in row))
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name in names:
            numbers = all(_is_number(row.get(name)) for row in rows)
            table.add_column(
                printable(name), justify="right" if numbers else "left", overflow="fold"
            )
        for row in rows:
            table.add_row(*(printable(plain_text(row.get(name))) for name in names))
        wide = None if sys.stdout.isatty() else 10_000
        console = Console(highlight=False, markup=False, emoji=False, width=wide)
        console.print(table)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def plain_text(value: Any) -> str:
    """A value as a table cell: floats with four digits, lists without brackets."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain_text(item) for item in value)
    return str(value)


def interval_line(primary: str, interval: Mapping[str, Any]) -> str:
    """The interval of a score as a line."""
    ends = f"{interval['low']:.4f} to {interval['high']:.4f}"
    return f"{primary}: {ends} ({interval['method']})"


def calibration_line(about: Mapping[str, Any]) -> str:
    """How far probabilities are from how often they are right, as a line."""
    line = f"calibration error (ECE): {about['ece']:.4f}"
    if about["ece_calibrated"] is not None:
        line += f"; {about['ece_calibrated']:.4f} with a temperature fitted to other folds of it"
    return f"{line} (of all: {about['temperature']:.4g})"


def _plain(value: Any) -> Any:
    """The value in JSON types: numpy and torch scalars become numbers, arrays become lists."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)
