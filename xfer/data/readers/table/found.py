"""Find the tables and lists of a folder, and which splits they are."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from xfer.data.images.walk import is_junk, listing, subfolders
from xfer.data.readers.table.bare_lists import bare_lists
from xfer.data.readers.table.records import peek, read_json_lines, read_list
from xfer.data.readers.table.text import Table, parse_table, read_table
from xfer.data.sources.split_names import WHOLE, role_of, role_word
from xfer.errors import DataError, XferError, listed, reader
from xfer.files import head_of

PEEKED = 1 << 18
SUFFIXES = (".csv", ".tsv")
JSON_LINES = (".jsonl", ".ndjson")
LISTS = (".txt", ".lst")
SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
# words in names of lists of other things than labels
_NO_LABELS = frozenset(
    ("partition", "split", "splits", "eval", "bbox", "bboxes", "boxes", "landmarks", "landmark")
)
MOST_LISTS = 20  # text files in a folder; more are labels of single pictures
METADATA = "metadata.jsonl"  # the only name of JSON lines that says that they are about pictures


def tables_of(path: Path) -> dict[str, Path]:
    """Split name -> table, for a file or a folder; lists of `path label` if there is no table."""
    if path.is_file():
        return {WHOLE: path} if path.suffix.casefold() in (*SUFFIXES, *JSON_LINES, *LISTS) else {}
    files = tables_in(path)
    names = [f for f in files if role_of(f.stem) and _has_one_column(f)]
    if any(role_of(f.stem) == "train" for f in names):  # they split another table
        files = [f for f in files if f not in names]
    files = files or _label_lists(path)
    splits = {f.stem: f for f in files if role_of(f.stem)}
    both = {f.stem: f for f in files if f.stem.casefold() == "trainval"}
    if splits:
        return splits if "train" in map(role_of, splits) else {**both, **splits}
    if len(files) == 1:
        return {WHOLE: files[0]}
    words = [(word, f) for f in files if (word := role_word(f.stem))]
    if not files:  # Roboflow's train/_classes.csv, Hugging Face's train/metadata.jsonl
        words = [(f.name, own[0]) for f in subfolders(path)
                 if role_of(f.name) and len(own := tables_in(f)) == 1]  # fmt: skip
    return dict(words) if len({word for word, _ in words}) == len(words) else {}


def lists_of_ids(path: Path, label: str = "") -> dict[str, Path]:
    """Split name -> list of `id label` in a folder without other tables and lists.

    Args: label: the kind of label that the user named, where there are several.

    Raises: XferError if there are several, and none is named.
    """
    found = bare_lists(path, MOST_LISTS) if path.is_dir() else {}
    if not found or tables_in(path) or _label_lists(path):
        return {}
    if len(found) < 2:
        return next(iter(found.values()), {})
    if label in found:
        return found[label]
    names = [next(iter(own.values())).name for own in found.values()]
    raise XferError(
        f"{path}: which lists hold the labels: {listed(names, 4)}?",
        " or ".join(shlex.quote(f"data.label={kind}") for kind in found),
    )


@reader
def read(file: Path, name: str) -> Table:
    """A split's table; that of a test split may hold only ids."""
    ending = file.suffix.casefold()
    if ending in LISTS:
        return read_list(file)
    if ending in JSON_LINES:
        return read_json_lines(file)
    return read_table(file, 1 if role_of(name) == "test" else 2)


@reader
def head(file: Path, name: str) -> Table:
    """The beginning of a split's table, or all of it: quick, and enough to know what it holds."""
    try:
        data = head_of(file, PEEKED)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    if len(data) == PEEKED and file.suffix.casefold() in SUFFIXES:
        with contextlib.suppress(DataError):  # cut within a cell, or in a wide character
            end = data.rfind(b"\n") + 1
            return parse_table(file, data[:end], 1 if role_of(name) == "test" else 2)
    return read(file, name)


def lists_in(folder: Path) -> list[Path]:
    """The text files of a folder that list pictures, with or without a label."""
    files = [Path(e.path) for e in listing(folder) if not is_junk(e.name)]
    files = [f for f in files if f.suffix.casefold() in LISTS]
    return [f for f in files if f.is_file() and peek(f)] if len(files) <= MOST_LISTS else []


def _has_one_column(file: Path) -> bool:
    try:
        return len(head(file, "test").header) == 1
    except DataError:
        return False


def _label_lists(folder: Path) -> list[Path]:
    """The lists of `path label` in a folder; none if their labels only repeat the folders that the
    pictures are sorted into, so that the class folders say more."""
    lists = [file for file in lists_in(folder) if _has_labels(file)]
    if not lists or len(subfolders(folder)) < 2:
        return lists
    pairs: set[tuple[str, str]] = set()
    for file in lists:
        try:
            rows = read_list(file).rows
        except DataError:
            return lists
        pairs |= {(row[0].replace("\\", "/").rpartition("/")[0], row[-1]) for row in rows}
    folders, labels = {f for f, _ in pairs}, {label for _, label in pairs}
    same = len(pairs) == len(folders) == len(labels) > 1
    return [] if same and all((folder / name).is_dir() for name in folders) else lists


def _has_labels(file: Path) -> bool:
    """Whether a list has labels: not splits, boxes or points, as its name may say."""
    rows = peek(file)
    other = _NO_LABELS & set(re.findall("[a-z]+", file.stem.casefold()))
    return rows is not None and len(rows[0]) > 1 and not other


def tables_in(folder: Path) -> list[Path]:
    """The tables of a folder, except submissions to Kaggle."""
    files = [Path(e.path) for e in listing(folder) if not is_junk(e.name)]
    files = [f for f in files if (f.suffix.casefold() in SUFFIXES or f.name.casefold() == METADATA)
             and f.is_file()]  # fmt: skip
    return [f for f in files if "submission" not in f.stem.casefold()]


def unread_tables(folder: Path, lists: Sequence[Path] = ()) -> list[str]:
    """A line about the tables and lists of a folder that is read as something else, apart from
    `lists`, which are read; one about spreadsheets."""
    files = [file for file in (*tables_in(folder), *lists_in(folder)) if file not in lists]
    if len(files) > 1:
        lines = [f"{listed([f.name for f in files], 3)} are not read: csv:FILE reads one"]
    else:
        lines = [f"{f.name} is not read: {_why(f)}" for f in files]
    sheets = [e.name for e in listing(folder) if Path(e.name).suffix.casefold() in SHEETS]
    sheets = [name for name in sheets if not is_junk(name)]
    if sheets:
        lines.append(f"not read: {listed(sheets, 3)}; save a spreadsheet as csv")
    return lines


def _why(file: Path) -> str:
    """Why a table is not read, as far as its beginning shows it."""
    try:
        head(file, WHOLE)
    except DataError as error:
        text = str(error).partition("\n")[0].removeprefix(str(file)).lstrip(":, ")
        if text and not text.startswith("only one column"):
            return text
    return f"csv:{file} reads it, or says why it can't"
