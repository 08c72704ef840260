"""Read a table as text: its encoding, delimiter and header."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from xfer.data.images.walk import is_picture
from xfer.errors import DataError, reader
from xfer.files import bytes_of

DELIMITERS = (",", "\t", ";", "|")
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Excel's first line, which says what separates the cells: sep=;
_SEP = re.compile(r'"?sep=(.)"?[ \t]*\r?\n')
# lines before the header that only say something: # made in May
_COMMENTS = re.compile(r"(?:#[^,;|\t\n]*\n)+(?=.*[,;|\t])")


@dataclass(frozen=True)
class Table:
    """Cells as text, without surrounding blanks, otherwise as written.

    header | names of the columns; column 1, column 2, ... if the table has none
    rows   | lists of as many cells as the header
    """

    file: Path
    header: list[str]
    rows: list[list[str]]


@reader
def read_table(file: Path, min_columns: int = 2) -> Table:
    """Read a csv or tsv file. Raises DataError if it is not a table of text, or has fewer than
    `min_columns` columns."""
    try:
        data = bytes_of(file)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    return parse_table(file, data, min_columns)


def parse_table(file: Path, data: bytes, min_columns: int = 2) -> Table:
    """Parse the bytes of a csv file; `file` is named in messages.

    Raises DataError if the bytes are not text, if there are fewer than `min_columns` columns, or if
    a row and the header differ in length.
    """
    text = as_text(file, data)
    excel, said = _SEP.match(text), _COMMENTS.match(text)
    if excel is not None:
        lines = _split(file, text[excel.end() :], excel[1], first=2)
    elif said is not None:
        rest = text[said.end() :]
        lines = _split(file, rest, _delimiter(rest), first=1 + said[0].count("\n"))
    else:
        lines = _split(file, text, _delimiter(text))
    width = len(lines[0][1])
    if width < min_columns:
        raise DataError(f"{file}: only one column", "a table needs pictures and labels: path,label")
    for number, cells in lines:
        if len(cells) != width:
            raise DataError(
                f"{file}, line {number}: {len(cells)} columns, the first line has {width}"
            )
    rows = [cells for _, cells in lines]
    if any(is_picture(cell) for cell in rows[0]):
        return Table(file, [f"column {k + 1}" for k in range(width)], rows)
    return Table(file, rows[0], rows[1:])


def as_text(file: Path, data: bytes) -> str:
    """The text of a file, without a byte order mark. Raises DataError for anything else."""
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise DataError(f"{file}: not UTF-8 text", "save the table as UTF-8") from None
    if not text.strip():
        raise DataError(f"{file}: an empty table")
    if "\0" in text:
        raise DataError(f"{file}: not a table of text")
    return text


def _split(file: Path, text: str, delimiter: str, first: int = 1) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not blank; `first` is that of the first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                lines.append((reader.line_num + first - 1, cells))
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num + first - 1}: {error}") from None
    if not lines:
        raise DataError(f"{file}: an empty table")
    return lines


def _delimiter(text: str) -> str:
    """The delimiter that gives every line the same number of columns, and the most of them.

    Labels may hold semicolons and bars, names commas: if it splits lines unequally, it is not one.
    """
    best, score = ",", (False, 0)
    for delimiter in DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            widths = [len(cells) for _, cells in zip(range(50), reader, strict=False) if any(cells)]
        except csv.Error:
            continue
        even = len(set(widths)) == 1 and widths[0] > 1
        if widths and (even, widths[0]) > score:
            best, score = delimiter, (even, widths[0])
    return best
