"""Which tables of a folder hold boxes, and which splits they are."""

from __future__ import annotations

from pathlib import Path

from xfer.data.images.walk import is_junk, listing, subfolders
from xfer.data.readers.table.box_columns import box_columns
from xfer.data.readers.table.found import JSON_LINES, METADATA, SUFFIXES, read
from xfer.data.readers.table.text import parse_table
from xfer.data.sources.split_names import WHOLE, role_of, role_word
from xfer.errors import DataError, XferError
from xfer.files import head_of

HEAD_BYTES = 1 << 16


def find_tables(path: Path) -> tuple[dict[str, Path], list[Path]]:
    """Split name -> table of boxes, and the other tables beside them.

    Raises: XferError for several tables of boxes that are not named like splits.
    """
    if path.is_file():
        own = {WHOLE: path} if _is_table(path) and _holds_boxes(path) else {}
        return own, [f for f in _tables_in(path.parent) if f != path] if own else []
    files = _tables_in(path)
    boxed = [f for f in files if _holds_boxes(f)]
    if not files:
        found = {f.name: [t for t in _tables_in(f) if _holds_boxes(t)]
                 for f in subfolders(path) if role_of(f.name)}  # fmt: skip
        return {name: own[0] for name, own in found.items() if len(own) == 1}, []
    others = [f for f in files if f not in boxed]
    if len(boxed) < 2:
        return ({WHOLE: boxed[0]} if boxed else {}), others
    words = {f: f.stem if role_of(f.stem) else role_word(f.stem) or "" for f in boxed}
    if "" in words.values() or len(set(words.values())) < len(boxed):
        which = " or ".join(f"boxes:{f}" for f in boxed[:4])
        raise XferError(f"{path} holds several tables of boxes", f"choose one: {which}")
    return {word: f for f, word in words.items()}, others


def _tables_in(folder: Path) -> list[Path]:
    files = [Path(e.path) for e in listing(folder) if not is_junk(e.name)]
    return [f for f in files if _is_table(f) and "submission" not in f.stem.casefold()]


def _is_table(file: Path) -> bool:
    ending = file.suffix.casefold()
    known = ending in SUFFIXES or (ending in JSON_LINES and file.name.casefold() == METADATA)
    return known and file.is_file()


def _holds_boxes(file: Path) -> bool:
    """Whether a table is one of boxes, by its beginning."""
    try:
        data = head_of(file, HEAD_BYTES)
        if len(data) < HEAD_BYTES or file.suffix.casefold() not in SUFFIXES:
            return bool(box_columns(read(file, WHOLE)))
        return bool(box_columns(parse_table(file, data[: data.rfind(b"\n") + 1])))
    except (OSError, DataError):
        return False
