"""`masks`: a picture and a mask beside it, a class a pixel.

    images/x.jpg, masks/x.png       with or without split folders on either level, see mask_layout
    classes.txt, class_dict.csv     what the masks' numbers or colours are called, see mask_classes

Masks are read as numbers, a palette's as indices. They are colours where a table gives colours and
the masks show these. Without a table the numbers that occur in the masks name the classes; 0 and
255 alone are background and foreground. Ignored are 255, and classes whose names say so (void,
Unlabelled, ignore), or those that data.ignore names. All of it is said in a note.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from xfer.data.box_rules import leave_out
from xfer.data.decode import DecodeError
from xfer.data.files import FileSource
from xfer.data.formats import FORMATS, WHOLE, Reading, ReadOptions, role_of
from xfer.data.mask_classes import ClassRow, find_table, ignored_rows
from xfer.data.mask_code import MaskCode, colour_codes, make_code
from xfer.data.mask_file import RawMask, read_mask_file
from xfer.data.mask_layout import Pairs, find_places, first_pair, pair
from xfer.data.mask_source import MaskFiles
from xfer.data.source import IGNORE
from xfer.data.walk import listing, readable, subfolders
from xfer.data.workers import cores
from xfer.errors import DataError
from xfer.types import DataInfo, Kind

LOOKED_AT = 32
# what only VOC, Cityscapes and ADE20K have: they are formats of their own
OTHERS = ("ImageSets", "leftImg8bit", "objectInfo150.txt")
MOST_CLASSES = 254
TABLE = "a file classes.txt beside the folders: a name a line, or `name r g b`"


@FORMATS.register("masks")
class Masks:
    """Pictures and mask files."""

    kinds: ClassVar[tuple[Kind, ...]] = ("segment",)
    weak: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        if any((path / name).exists() for name in OTHERS) or _has_xml(path / "Annotations"):
            return None
        mates = first_pair(path)
        if mates is None:
            return None
        masks = readable(os.path.relpath(mates[1], path))
        return f"pictures and masks, {readable(os.path.relpath(mates[0], path))} with {masks}"

    def load(self, path: Path, options: ReadOptions) -> Reading:
        places = find_places(path, options.named)
        if not places:
            raise DataError(f"{path}: no pictures with masks in it", "images/ and masks/")
        reading = Reading({})
        parts = [pair(place) for place in places]
        for part in parts:
            _tell_unpaired(path, part, options.skip_bad, reading)
        masks = [mask for part in parts for _, mask in part.files]
        if not masks:
            raise DataError(
                f"{path}: no mask has the name of a picture", "images/x.jpg, masks/x.png"
            )
        above = [f for place in places if place.masks for f in (place.masks, place.masks.parent)]
        found = find_table([path, *above, *subfolders(path)])
        classes, code, lines = _meaning(path, masks, found, options)
        reading.notes.extend(lines)
        for part in parts:
            info = DataInfo(
                readable(path.name), "segment", classes, role_of(part.name) or part.name
            )
            if not part.files:
                info = replace(info, kind="images", classes=())
                files = [str(p.relative_to(path)) for p in part.without_mask]
                reading.parts[part.name] = FileSource(info, path, files, np.full(len(files), -1))
                continue
            files = [str(picture.relative_to(path)) for picture, _ in part.files]
            own = [str(mask.relative_to(path)) for _, mask in part.files]
            reading.parts[part.name] = MaskFiles(info, path, files, own, code)
        return reading


def _has_xml(folder: Path) -> bool:
    return any(e.name.endswith(".xml") for e in listing(folder))


def _tell_unpaired(path: Path, part: Pairs, skip_bad: bool, reading: Reading) -> None:
    """Pictures without a mask are an error where others have one; masks alone are told."""
    if part.files and part.without_mask:
        lost = [(readable(str(p.relative_to(path))), "no mask") for p in part.without_mask]
        leave_out(str(path), "pictures have no mask", lost, skip_bad, reading.skipped)
    if part.without_picture:
        first = ", ".join(readable(p.name) for p in part.without_picture[:3])
        where = "" if part.name == WHOLE else f"{part.name}: "
        reading.notes.append(
            f"{where}{len(part.without_picture)} masks without a picture are left out ({first})"
        )


def _meaning(
    path: Path,
    masks: Sequence[Path],
    found: tuple[Path, list[ClassRow]] | None,
    options: ReadOptions,
) -> tuple[tuple[str, ...], MaskCode, list[str]]:
    """The classes, what the masks' values mean, and lines that say so."""
    if found is None:
        looked = [raw for raw in _look(_evenly(masks)) if raw is not None]
        coloured = [raw for raw in looked if raw.coloured]
        if _most(looked):
            colours = np.unique(coloured[0].values.reshape(-1, 3), axis=0)
            first = ", ".join(str(tuple(c)) for c in colours[:3].tolist())
            raise DataError(
                f"{path}: the masks are coloured ({len(colours)} colours in one, such as {first}) "
                "and no table says what the colours mean",
                TABLE,
            )
        values = sorted(_all_values(masks))
        rows = _named_by_value(path, values)
        where = "no class table: the classes are the values in the masks"
    else:
        table, rows = found
        where = f"classes from {readable(os.path.relpath(table, path))}"
        looked = [raw for raw in _look(_evenly(masks)) if raw is not None]
        if _by_colour(path, table, rows, looked):
            return _coded(
                path, rows, [_number(row) for row in rows], "colour", where, options.ignore
            )
        rows = _with_values(rows, looked)
    values = [row.value if row.value is not None else -1 for row in rows]
    return _coded(path, rows, values, "value", where, options.ignore)


def _evenly(masks: Sequence[Path]) -> list[Path]:
    places = np.linspace(0, len(masks) - 1, min(LOOKED_AT, len(masks))).astype(int)
    return [masks[i] for i in np.unique(places).tolist()]


def _look(masks: Sequence[Path]) -> list[RawMask | None]:
    """The masks; None for what can't be read: verifying names it."""

    def look(path: Path) -> RawMask | None:
        try:
            return read_mask_file(path)
        except DecodeError:
            return None

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(look, masks))


def _all_values(masks: Sequence[Path]) -> set[int]:
    """Every number that occurs in any mask; coloured ones are left to verifying."""

    def look(path: Path) -> list[int]:
        try:
            raw = read_mask_file(path)
        except DecodeError:
            return []
        return [] if raw.coloured else np.flatnonzero(np.bincount(raw.values.ravel())).tolist()

    with ThreadPoolExecutor(cores()) as pool:
        return {value for found in pool.map(look, masks) for value in found}


def _named_by_value(path: Path, values: Sequence[int]) -> list[ClassRow]:
    """Classes of masks without a table."""
    if set(values) == {0, IGNORE}:
        return [ClassRow("background", 0), ClassRow("foreground", IGNORE)]
    named = [v for v in values if v != IGNORE]
    if len(named) > MOST_CLASSES or (named and named[-1] > IGNORE):
        raise DataError(
            f"{path}: the masks hold {len(named)} different values, up to {named[-1]}: these are "
            "no classes (numbered objects, or blurred edges?)",
            f"a class is one of 0 to {MOST_CLASSES}; or {TABLE}",
        )
    if len(named) < 2:
        raise DataError(
            f"{path}: all masks hold {named[0] if named else 'nothing to learn'}",
            "there must be two classes to tell apart",
        )
    return [ClassRow(str(v), v) for v in named]


def _with_values(rows: list[ClassRow], looked: Sequence[RawMask]) -> list[ClassRow]:
    """The rows with their values: those of the table, else their places in it."""
    if all(row.value is not None for row in rows):
        return rows
    plain = [replace(row, value=i) for i, row in enumerate(rows)]
    values = {v for raw in looked if not raw.coloured for v in np.unique(raw.values).tolist()}
    if IGNORE in values and values <= {0, IGNORE}:
        if len(rows) == 1:
            return [ClassRow("background", 0), replace(rows[0], value=IGNORE)]
        if len(rows) == 2:
            return [plain[0], replace(rows[1], value=IGNORE)]
    return plain


def _by_colour(
    path: Path, table: Path, rows: Sequence[ClassRow], looked: Sequence[RawMask]
) -> bool:
    """Whether the masks are read by their colours. Raises DataError where they need colours that
    the table does not give."""
    with_colours = [raw for raw in looked if raw.coloured or raw.palette is not None]
    known = {_number(row) for row in rows if row.colour is not None}
    if not known:
        if _most(looked):
            raise DataError(
                f"{path}: the masks are coloured, and {table.name} has no colours", "`name r g b`"
            )
        return False
    if _most(looked):
        return True
    if with_colours:
        seen: set[int] = set()
        for raw in with_colours:
            if raw.palette is None:
                continue
            used = np.unique(raw.values)
            seen |= set(colour_codes(raw.palette[used[used < len(raw.palette)]]).tolist())
        return bool(seen & known) and len(seen - known) * 2 < len(seen)
    # grey masks: numbers, unless the table's colours are greys that are other numbers
    greys = [row.colour[0] for row in rows if row.colour and len(set(row.colour)) == 1]
    values = {v for raw in looked for v in np.unique(raw.values).tolist()}
    return len(greys) == len(rows) and values <= set(greys)


def _most(looked: Sequence[RawMask]) -> bool:
    """Whether most masks are coloured; the others are then named when they are verified."""
    return sum(raw.coloured for raw in looked) * 2 > len(looked)


def _number(row: ClassRow) -> int:
    assert row.colour is not None
    return (row.colour[0] << 16) + (row.colour[1] << 8) + row.colour[2]


def _coded(
    path: Path,
    rows: Sequence[ClassRow],
    values: Sequence[int],
    by: Literal["value", "colour"],
    where: str,
    ignore: str,
) -> tuple[tuple[str, ...], MaskCode, list[str]]:
    """Classes without the ignored ones, and the code that leads to them."""
    gone = ignored_rows([replace(r, value=v) for r, v in zip(rows, values, strict=True)]
                        if by == "value" else rows, ignore)  # fmt: skip
    kept = [i for i in range(len(rows)) if i not in gone]
    classes = tuple(rows[i].name for i in kept)
    if len(classes) < 2:
        raise DataError(
            f"{path}: one class only ({', '.join(classes)})", "there must be two to tell apart"
        )
    if len(classes) > MOST_CLASSES:
        raise DataError(f"{path}: {len(classes)} classes; masks hold {MOST_CLASSES} at most")
    labels = {values[i]: c for c, i in enumerate(kept)} | {values[i]: IGNORE for i in sorted(gone)}
    said = "data.ignore" if ignore else "by name"
    told = [
        f"{rows[i].name} ({said})" if by == "colour" or str(values[i]) == rows[i].name
        else f"{values[i]} {rows[i].name} ({said})"
        for i in sorted(gone)
    ]  # fmt: skip
    if by == "value" and IGNORE not in labels:
        labels[IGNORE] = IGNORE
        told.append("255")
    what = "colours" if by == "colour" else "values"
    return classes, make_code(by, labels), [
        f"{where}; {len(classes)} classes by the masks' {what}",
        f"ignored: {', '.join(told) or 'nothing'}",
    ]  # fmt: skip
