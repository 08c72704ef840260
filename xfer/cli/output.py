"""Output of commands: a document for programs, or tables and lines for people."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xfer.cli.table import lay_out
from xfer.cli.table import plain_text as plain_text
from xfer.errors import printable
from xfer.exit_codes import is_main
from xfer.runs.plain_json import json_text


def wrapped(text: str, stream: Any) -> str:
    """Text whose long lines end between words on a terminal, and go on indented; as it is in a
    pipe."""
    if not stream.isatty():
        return text
    width = max(20, shutil.get_terminal_size().columns)
    lines = text.split("\n")
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False,
                      break_on_hyphens=False, drop_whitespace=True)
        if len(line) > width else line
        for line in lines
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Show:
    """Prints a command's output: results to stdout, notes to stderr.

    json      | print only a JSON document on stdout
    verbosity | -1 quiet, 0 normal, 1 more
    commands  | the names of the commands beside the one that prints
    """

    json: bool = False
    verbosity: int = 0
    commands: tuple[str, ...] = ()

    def note(self, text: str) -> None:
        """A note: what was found or chosen. Warnings are printed with -q as well."""
        if (self.verbosity >= 0 or text.startswith("warning: ")) and is_main():
            print(wrapped(printable(text), sys.stderr), file=sys.stderr)

    def line(self, text: str) -> None:
        """A note that is to be copied: never broken into lines."""
        if self.verbosity >= 0 and is_main():
            print(printable(text), file=sys.stderr)

    def left_out(self, pictures: Iterable[Sequence[str]]) -> None:
        """Notes on pictures that can't be used. Args: pictures: (file, reason) of each."""
        for file, reason in pictures:
            self.note(f"left out: {file}: {reason}")

    def text(self, text: str) -> None:
        """The result, as plain text."""
        if is_main():
            print(wrapped(printable(text), sys.stdout))

    def raw(self, text: str) -> None:
        """The result, as a file for programs: no line is broken."""
        if is_main():
            print(printable(text))

    def document(self, value: Any) -> None:
        """The result, as JSON; non-finite numbers become null."""
        if is_main():
            print(json_text(value))

    def table(
        self,
        rows: Sequence[Mapping[str, Any]],
        columns: Sequence[str] = (),
        keep: Sequence[str] = (),
    ) -> None:
        """Rows as a table. In a pipe it is as wide as it takes; on a terminal, long texts fold and
        the last columns are left out if there is no room. See `xfer.cli.table.lay_out`."""
        if not is_main():
            return
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        laid = lay_out(rows, columns, width, keep)
        lines = laid.lines
        if not _takes("─"):
            lines = [line.replace("─", "-") for line in lines]
        print("\n".join(lines))
        if laid.left_out:
            self.note(f"no room for {', '.join(laid.left_out)}: --json has them")


def _takes(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


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
