"""`rle`: a table of masks as run lengths, next to the pictures.

    ImageId,EncodedPixels           one or more rows per picture (Airbus; Carvana's img,rle_mask)
    ImageId,ClassId,EncodedPixels   with the class of each row (Severstal; Clouds' x.jpg_Fish)

The column of run lengths is told by its cells, see `run_lengths`; the pictures are searched below
the table's folder, with or without their endings. All rows of a picture make one mask: background,
and foreground or the classes of the table. A row without runs has no object. Where the masks of two
classes overlap, the smaller one is on top, and a line counts such pictures. Pictures that no row
names are left out. Masks in files beside the pictures are preferred: `rle:FILE` reads the table.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.limits import check_size
from xfer.data.images.size import header_at
from xfer.data.images.threads import cores
from xfer.data.images.walk import is_junk, is_picture, listing, readable
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.masks.class_table import ClassRow
from xfer.data.readers.masks.layout import first_pair
from xfer.data.readers.masks.run_lengths import (
    along_rows,
    draw_runs,
    parse_runs,
    relative,
    run_length_column,
)
from xfer.data.readers.masks.values import numbered
from xfer.data.readers.table.columns import PATHS, column_named
from xfer.data.readers.table.locate import Locator
from xfer.data.readers.table.text import Table, parse_table, read_table
from xfer.data.sources import door
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.masks import MaskSource, file_stamp
from xfer.data.sources.split_names import WHOLE, role_of, role_word
from xfer.data.sources.written import whole_number
from xfer.errors import DataError, XferError, listed, reader
from xfer.files import at_home, head_of
from xfer.types import IGNORE, DataInfo

SUFFIXES = (".csv", ".tsv")
BACKGROUND = "background"
_CLASS = ("classid", "class", "classname", "label", "labelid", "category", "categoryid")
PROBED = 300
PEEKED = 1 << 18  # bytes of a table


def run_length_tables(path: Path) -> list[Path]:
    """The tables of run lengths at a path: the file, or those of a folder without submissions."""
    files = [path] if path.is_file() else [
        Path(e.path) for e in listing(path)
        if not is_junk(e.name) and "submission" not in e.name.casefold()
    ]  # fmt: skip
    return [f for f in files if f.suffix.casefold() in SUFFIXES and f.is_file() and _column(f)]


def _column(file: Path) -> bool:
    """Whether a file is a table of run lengths, by its beginning."""
    try:
        data = head_of(file, PEEKED)
        if len(data) == PEEKED:
            data = data[: data.rfind(b"\n") + 1]
        return run_length_column(parse_table(file, data)) is not None
    except (OSError, DataError):
        return False


@FORMATS.register("rle")
class Rle:
    """A table of masks as run lengths."""

    kinds: ClassVar[tuple[str, ...]] = ("segment",)
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("path", "label")

    def recognise(self, path: Path) -> str | None:
        tables = run_length_tables(path)
        if not tables or (path.is_dir() and first_pair(path) is not None):
            return None
        return f"masks as run lengths in {listed([f.name for f in tables], 3)}"

    def load(self, path: Path, options: ReadOptions) -> Reading:
        tables = run_length_tables(path)
        if not tables:
            raise DataError(f"{path}: no table of run lengths in it", "ImageId,EncodedPixels")
        splits = {role_word(f.stem) or f.stem: f for f in tables}
        if len(tables) > 1 and (len(splits) < len(tables) or not all(map(role_of, splits))):
            named = " and ".join(f.name for f in tables)
            raise XferError(
                f"{path}: masks as run lengths in {named}",
                f"give one of them: {' or '.join(f'rle:{f}' for f in tables)}",
            )
        reading = Reading({})
        for split, file in splits.items() if len(tables) > 1 else [(WHOLE, tables[0])]:
            reading.parts[split] = _read(file, split, options, reading)
        return reading


@dataclass(frozen=True)
class Rows:
    """The rows of a table by picture: (class, runs) of each; `order` is that of the pictures."""

    order: list[Path]
    masks: dict[Path, list[tuple[str, NDArray[np.int64]]]]


@reader
def _read(file: Path, split: str, options: ReadOptions, reading: Reading) -> RunMasks:
    table = read_table(file)
    column = run_length_column(table)
    assert column is not None
    top = at_home(options.images) if options.images else file.parent
    if not top.is_dir():
        raise XferError(f"data.images={options.images}: no such folder")
    role = role_of(split) or role_of(role_word(file.stem) or "")
    locator = Locator(top.absolute() / "x", [""], role)
    rows = _rows(table, column, locator, options, reading)
    headers = _headers(rows.order)
    cells = [(runs, headers[p][:2]) for p in rows.order for _, runs in rows.masks[p]]
    some = [(runs, size) for runs, size in cells if len(runs)][:PROBED]
    if relative([runs for runs, _ in some]):
        raise DataError(
            f"{file}: the runs of a cell fall back: starts that count from the end of the run "
            "before (as in SIIM's table) are not read",
            "write starts as numbers of pixels, from 1",
        )
    by_rows = along_rows([runs for runs, _ in some], [size for _, size in some])
    first = int(not any(len(runs) and runs[:, 0].min() == 0 for runs, _ in cells))
    names = sorted({name for p in rows.order for name, _ in rows.masks[p] if name}, key=_natural)
    kept = ClassRow(BACKGROUND), *(ClassRow(n, whole_number(n)) for n in names)
    if not names:
        kept = ClassRow(BACKGROUND), ClassRow("foreground")
    classes, labels, gone = numbered(file, kept, options.ignore)
    place = {name: k for k, name in enumerate(names, 1)}
    masks = [[(place.get(n, 1), runs) for n, runs in rows.masks[p]] for p in rows.order]
    how = "along the rows" if by_rows else "down the columns"
    empty = sum(not any(len(runs) for _, runs in own) for own in masks)
    reading.notes.append(
        f"{file.name}: run lengths in {table.header[column]!r}, pixels numbered {how} from "
        f"{first}; {len(classes)} classes with {BACKGROUND}"
        + (f"; ignored: {', '.join(kept[k].name for k in gone)}" if gone else "")
    )
    if by_rows:
        reading.notes.append(f"warning: {file.name}: runs follow each other by the width of their "
                             "picture, so they are read along the rows")  # fmt: skip
    if empty:
        reading.notes.append(f"{file.name}: {empty} pictures without an object are background")
    crossed = sum(_overlap(own) for own in masks)
    if crossed:
        reading.notes.append(
            f"warning: {file.name}: in {crossed} pictures masks of two classes overlap: the "
            "smaller one is on top"
        )
    turned = sum(headers[p][2] > 1 for p in rows.order)
    if turned:
        reading.notes.append(f"warning: {file.name}: {turned} pictures are turned by their EXIF: "
                             "their runs are read in the frame that is stored")  # fmt: skip
    root = file.parent.absolute()
    info = DataInfo(readable(file.stem), "segment", classes, role_of(split) or split)
    files = [str(p.relative_to(root)) if p.is_relative_to(root) else str(p.absolute())
             for p in rows.order]  # fmt: skip
    return RunMasks(info, root, files, masks, labels, file, first, by_rows)


def _rows(
    table: Table, column: int, locator: Locator, options: ReadOptions, reading: Reading
) -> Rows:
    """The rows of a table by picture. Raises DataError for pictures that are not there and cells
    that can't be read, unless they may be left out."""
    file = table.file
    others = [k for k in range(len(table.header)) if k != column]
    best, both = _picture_column(table, others, locator, options.path)
    heads = ["".join(c for c in h.casefold() if c.isalpha()) for h in table.header]
    named = [k for k in others if k != best and heads[k] in _CLASS]
    named = sorted(named, key=lambda k: _CLASS.index(heads[k]))
    if options.label:
        named = column_named(table, options.label, "label")
    cells = [_parts(row[best])[0] if both else row[best] for row in table.rows]
    try:
        places = locator.find_all(cells)
    except DataError as error:
        raise DataError(
            f"{file}: {error.message}", "data.images=FOLDER gives the folder of the pictures"
        ) from None
    reading.notes.extend(f"{file.name}: {line}" for line in places.notes(cells))
    lost = list(dict.fromkeys(places.lost(cells)))
    leave_out(str(file), "pictures are not there", lost, options.skip_bad, reading.skipped)
    found = Rows([], {})
    bad: list[tuple[str, str]] = []
    for number, (row, place) in enumerate(zip(table.rows, places.places, strict=True), 2):
        if place is None:
            continue
        picture = Path(os.path.normpath(locator.root / place))
        cell = cells[number - 2]
        name = _parts(row[best])[1] if both else row[named[0]] if named else ""
        try:
            runs = parse_runs(row[column])
        except DataError as error:
            bad.append((f"{cell}, line {number}", error.message))
            continue
        if picture not in found.masks:
            found.order.append(picture)
        found.masks.setdefault(picture, []).append((name, runs))
    leave_out(str(file), "cells can't be read", bad, options.skip_bad, reading.skipped)
    if not found.order:
        raise DataError(f"{file}: no row is left")
    if any(n for own in found.masks.values() for n, _ in own) and not all(
        n for own in found.masks.values() for n, runs in own if len(runs)
    ):
        head = table.header[named[0]] if named else table.header[best]
        raise DataError(f"{file}: a row with run lengths has no class in {head!r}")
    spare = _beside(found.order)
    reading.leave("picture that no row names", "pictures that no row names", spare)
    used = {column, best, *named[:1]}
    reading.leave("column", "columns", [h for k, h in enumerate(table.header) if k not in used])
    return found


def _picture_column(
    table: Table, others: Sequence[int], locator: Locator, given: str
) -> tuple[int, bool]:
    """The column that names the pictures, and whether the class is written behind the name.

    Args: given: the column that the user named. Raises: XferError if two name different pictures;
        DataError if none does.
    """
    probe = table.rows[:: max(1, len(table.rows) // PROBED)]
    if given:
        others = [k for k in column_named(table, given, "path") if k in others]
    named = {k: [_found(locator, row[k]) for row in probe] for k in others}
    hits = {k: sum(p is not None for p in named[k]) for k in others}
    ends = {k: sum(is_picture(row[k]) for row in probe) for k in others}
    joined = {k: sum(_found(locator, _parts(row[k])[0]) is not None for row in probe)
              for k in others}  # fmt: skip
    order = sorted(others, key=lambda k: (-hits[k], -ends[k], -joined[k]))
    if not order or not (hits[order[0]] or joined[order[0]]):
        example = table.rows[0][(order or [0])[0]]
        raise DataError(
            f"{table.file}: no column names pictures that exist ({example!r} is not found)",
            f"looked below {locator.root}; data.images=FOLDER gives the folder",
        )
    best = order[0]
    rivals = [
        k for k in order
        if hits[k] == hits[best] > 0 and ends[k] == ends[best] and named[k] != named[best]
    ]  # fmt: skip
    usual = [k for k in (best, *rivals) if table.header[k].casefold() in PATHS]
    if rivals and len(usual) != 1:
        raise XferError(
            f"{table.file}: which column names the pictures: "
            f"{', '.join(repr(table.header[k]) for k in (best, *rivals))}?",
            " or ".join(shlex.quote(f"data.path={table.header[k]}") for k in (best, *rivals)),
        )
    best = usual[0] if rivals else best
    return best, not hits[best]


def _found(locator: Locator, cell: str) -> Path | None:
    """A picture that a cell names, perhaps one of several."""
    try:
        return locator.find_anywhere(cell)
    except DataError:
        return Path(cell)


def _parts(cell: str) -> tuple[str, str]:
    """A picture and the class that is written behind it: x.jpg_Fish, 0002cc93b.jpg_1."""
    picture, _, name = cell.rpartition("_")
    return picture, name


def _natural(name: str) -> tuple[int, str]:
    found = whole_number(name)
    return (1 << 62, name) if found is None else (found, "")


def _beside(named: Sequence[Path]) -> list[str]:
    """Pictures in the folders of the named ones that are not named."""
    own = set(named)
    return [
        readable(e.name) for folder in sorted({p.parent for p in named}) for e in listing(folder)
        if is_picture(e.name) and not is_junk(e.name) and folder / e.name not in own
    ]  # fmt: skip


def _headers(pictures: Sequence[Path]) -> Mapping[Path, tuple[int, int, int]]:
    """Height, width and EXIF orientation of each picture as it is stored; zeros if it can't be
    read, which verifying reports."""

    def look(path: Path) -> tuple[int, int, int]:
        try:
            return header_at(path) or (0, 0, 1)
        except (OSError, DecodeError):
            return 0, 0, 1

    with ThreadPoolExecutor(cores()) as pool:
        return dict(zip(pictures, pool.map(look, pictures), strict=True))


def _overlap(own: Sequence[tuple[int, NDArray[np.int64]]]) -> bool:
    """Whether runs of different classes cover the same pixel."""
    if len({label for label, _ in own}) < 2:
        return False
    edges = np.concatenate([np.column_stack([r, np.full(len(r), k)]) for k, r in own])
    order = edges[np.argsort(edges[:, 0], kind="stable")]
    reach: dict[int, int] = {}  # class -> the furthest end of its runs so far
    for start, length, label in order.tolist():
        if any(end > start for other, end in reach.items() if other != label):
            return True
        reach[label] = max(reach.get(label, 0), start + length)
    return False


class RunMasks(MaskSource):
    """Pictures whose masks are drawn from run lengths when they are read.

    Args:
        masks: of each picture, the (class, runs) of its rows; labels: uint8 (1 + C,), for the
            background and the table's classes the class index, 255 = ignored.
        table: the file; the masks change with it. first, by_rows: as in `draw_runs`.
    """

    def __init__(
        self,
        info: DataInfo,
        root: Path,
        files: Sequence[str],
        masks: Sequence[Sequence[tuple[int, NDArray[np.int64]]]],
        labels: NDArray[np.uint8],
        table: Path,
        first: int,
        by_rows: bool,
    ) -> None:
        super().__init__(info, root, files)
        self.masks = tuple(tuple(own) for own in masks)
        self.look_up = np.full(IGNORE + 1, IGNORE, np.uint8)
        self.look_up[: len(labels)] = labels
        self.first, self.by_rows = first, by_rows
        self._mark = f"{file_stamp(table)} {labels.tolist()} {first} {by_rows}"

    @door.sample
    def read_mask(self, i: int) -> NDArray[np.uint8]:
        header = header_at(self.path(i))
        if header is None:
            raise DecodeError("its size can't be read", self.ids[i])
        height, width, _ = header
        try:
            check_size(width, height)
            drawn = [(k, draw_runs(runs, height, width, self.first, self.by_rows))
                     for k, runs in self.masks[i] if len(runs)]  # fmt: skip
        except DataError as error:
            reason = error.reason if isinstance(error, DecodeError) else error.message
            raise DecodeError(reason, self.ids[i]) from None
        mask = np.zeros((height, width), np.uint8)
        for k, pixels in sorted(drawn, key=lambda pair: -int(pair[1].sum())):
            mask[pixels] = k
        return self.look_up[mask]

    def mask_stamp(self, i: int) -> str:
        return self._mark
