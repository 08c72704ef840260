"""`xfer features join`: the files of all parts as one features file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, XferError, listed
from xfer.extraction.parquet import check_parquet, write_parquet
from xfer.extraction.parts import ENDS, open_part
from xfer.extraction.store import Features, Spool, spool_folder
from xfer.parts.folder import difference, plain, short

_ROWS = 4096  # copied at a time
_PART = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True)
class Joined:
    """What was joined: the file, how many rows it has, from how many parts."""

    path: Path
    rows: int
    parts: int

    def document(self) -> dict[str, Any]:
        return {"file": str(self.path), "rows": self.rows, "parts": self.parts}


def join(folder: Path | str, out: Path | str, say: Callable[[str], None] | None = None) -> Joined:
    """Joins the part files of a folder: equal to one `extract` of everything, bit for bit.

    Memory holds the names and labels of all rows, and a block of one layer.

    Raises: DataError for a part that is missing, damaged, or of another job; XferError for an
        unknown ending of `out`.
    """
    folder, out = Path(folder), Path(out)
    if out.suffix not in ENDS:
        raise XferError(f"{out}: unknown file extension", f"-o FILE{' or FILE'.join(ENDS)}")
    if out.suffix == ".parquet":
        check_parquet()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of parts")
    files = sorted(p for p in folder.iterdir() if p.name.startswith("part-") and p.suffix in ENDS)
    if not files:
        raise DataError(f"{folder}: no part in it", f"xfer features ... --part 0/N -o {folder}")
    tables = _in_order(folder, files)
    _check_alike(files[0], tables)
    if say is not None:
        say(f"{len(tables)} parts of {folder}")
    return _write(out, list(tables.values()))


def _in_order(folder: Path, files: list[Path]) -> dict[Path, Features]:
    """The parts by number. Raises DataError unless each is there once."""
    tables = {file: _opened(file) for file in files}
    count = int(_part(tables[files[0]]).partition("/")[2])
    numbered: dict[int, Path] = {}
    for file, table in tables.items():
        index, _, parts = _part(table).partition("/")
        if int(parts) != count:
            raise DataError(
                f"{folder}: {file.name} is part {index}/{parts}, {files[0].name} one of {count}",
                "join the parts of one job: each in a folder of its own",
            )
        if int(index) in numbered:
            again = numbered[int(index)].name
            raise DataError(f"{folder}: {again} and {file.name} are both part {index}/{count}")
        numbered[int(index)] = file
    missing = [f"{i}/{count}" for i in range(count) if i not in numbered]
    if missing:
        many = "part" if len(missing) == 1 else f"{len(missing)} parts"
        raise DataError(
            f"{folder}: {many} missing: {listed(missing, 5)}",
            f"the same command with --part {missing[0]} -o {folder} makes it",
        )
    return {numbered[i]: tables[numbered[i]] for i in range(count)}


def _opened(file: Path) -> Features:
    try:
        return open_part(file)
    except DataError as error:
        number = file.stem.removeprefix("part-")
        again = f"--part {int(number)}/N makes it again" if number.isdecimal() else None
        raise DataError(error.message, again or error.hint) from error


def _part(table: Features) -> str:
    text = str(table.meta["part"]["part"])
    match = _PART.fullmatch(text)
    if match is None or int(match[1]) >= int(match[2]):
        raise DataError(f"a part's file says that it is part {text[:40]!r}")
    return text


def _check_alike(first: Path, tables: dict[Path, Features]) -> None:
    """Raises DataError for parts that were made in different ways."""
    whole = _whole_meta(tables[first])
    for file, table in tables.items():
        found = difference(whole, _whole_meta(table))
        classes = not _known(table, tables[first]) and not _known(tables[first], table)
        if found or classes or set(table.layers) != set(tables[first].layers):
            name, theirs, ours = found or ("classes", "those of one", "those of another")
            raise DataError(
                f"{file}: made with other settings than {first.name}: {name} is {short(ours)}, "
                f"not {short(theirs)}",
                "make the parts with one command, on the same data",
            )


def _known(one: Features, other: Features) -> bool:
    """Whether the classes of one are the first of the other's: parts of a stream know the classes
    by number, up to the largest that they have seen."""
    return one.classes.tolist() == other.classes.tolist()[: len(one.classes)]


def _whole_meta(table: Features) -> Any:
    return plain({key: value for key, value in table.meta.items() if key != "part"})


def _write(out: Path, tables: list[Features]) -> Joined:
    count = sum(map(len, tables))
    meta = {key: value for key, value in tables[0].meta.items() if key != "part"}
    names = list(tables[0].layers)

    def joined(column: str) -> NDArray[Any]:
        return np.concatenate([getattr(table, column) for table in tables])

    with spool_folder(out) as place:
        sink = Spool(out, place, count)
        first, widths = 0, dict[str, Any]()
        for table in tables:
            for name in names:
                values = table.layers[name]
                shape = values.shape[1:], values.dtype
                if widths.setdefault(name, shape) != shape:
                    raise DataError(f"part {_part(table)}: {name} has vectors of another length")
                for start in range(0, len(table), _ROWS):
                    rows = np.arange(start, min(start + _ROWS, len(table)))
                    sink.write(first + rows, {name: values[start : start + _ROWS]})
            first += len(table)
        sink.close()
        classes = max((table.classes for table in tables), key=len)
        rest = Features({}, joined("y"), joined("ids"), classes, joined("splits"), meta)
        layers = sink.arrays(names)
        if out.suffix == ".parquet":
            whole = Features(layers, rest.y, rest.ids, rest.classes, rest.splits, meta)
            write_parquet(out, whole)
        else:
            sink.finish(names, rest)
    return Joined(out, count, len(tables))
