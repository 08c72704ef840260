"""Lists of `id label`, where the id is a picture's name without its ending, in images/ or beside
the list: FGVC-Aircraft's images_variant_train.txt, `1025794 Boeing 707`.

There may be several such lists per split, one for each kind of label (variant, family); which one
is meant is asked, `data.label=variant`.
"""

from __future__ import annotations

import re
from pathlib import Path

from xfer.data.images.walk import is_junk, listing
from xfer.data.readers.table.text import Table, as_text
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.errors import DataError, reader
from xfer.files import bytes_of, head_of, is_file

PEEKED = 1 << 12
FEW = 3
PLACES = ("images", "")
_NUMBERS = re.compile(r"[-+.\d]+(\s+[-+.\d]+)+")  # several: points or boxes
_ENDINGS = (".jpg", ".png", ".jpeg", ".JPG")
_SPLITS = ("train", "val", "valid", "validation", "test", "trainval")


def bare_lists(folder: Path, most: int) -> dict[str, dict[str, Path]]:
    """Kind of label -> split -> list; none if a folder has no such lists, or more than `most` text
    files."""
    files = [Path(e.path) for e in listing(folder) if e.name.casefold().endswith(".txt")]
    files = [f for f in files if not is_junk(f.name) and f.is_file()]
    if not files or len(files) > most:
        return {}
    found: dict[tuple[str, ...], dict[str, Path]] = {}
    for file in files:
        words = _words(file)
        split = next((word for word in words if word in _SPLITS), WHOLE)
        if _peek(file):
            key = tuple(word for word in words if word != split)
            found.setdefault(key, {})[split] = file
    for splits in found.values():
        if any(role_of(name) == "train" for name in splits):
            splits.pop("trainval", None)
    shared = set[str]().union(*found).intersection(*found) if len(found) > 1 else set[str]()
    return {"_".join(word for word in key if word not in shared): own for key, own in found.items()}


@reader
def read_bare(file: Path) -> Table | None:
    """The table of such a list; None if the file is something else."""
    if not _peek(file):
        return None
    rows = _rows(as_text(file, bytes_of(file)))
    return Table(file, ["path", "label"], rows) if all(len(row) == 2 for row in rows) else None


def _rows(text: str) -> list[list[str]]:
    return [line.split(None, 1) for line in map(str.strip, text.splitlines()) if line]


def _words(file: Path) -> list[str]:
    return re.findall("[a-z0-9]+", file.stem.casefold())


def _peek(file: Path) -> bool:
    """Whether the first lines of a file have a picture's name and a label each."""
    try:
        data = head_of(file, PEEKED)
        cut = data if len(data) < PEEKED else data[: data.rfind(b"\n") + 1]
        rows = _rows(as_text(file, cut))
    except (OSError, DataError):
        return False
    names = {row[0] for row in rows}
    few = len(rows) < (1 if set(_words(file)) & {*_SPLITS} else FEW)
    if few or len(names) < len(rows) or _is_there(file.parent, file.stem):
        return False  # the labels of a single picture
    return all(len(row) == 2 and not _NUMBERS.fullmatch(row[1]) for row in rows) and all(
        "/" not in name and _is_there(file.parent, name) for name, _ in rows[:FEW]
    )


def _is_there(folder: Path, name: str) -> bool:
    return len(name) < 200 and any(
        is_file(folder / place / f"{name}{end}") for place in PLACES for end in _ENDINGS
    )
