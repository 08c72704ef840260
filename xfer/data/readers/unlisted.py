"""What lies beside a set and is not used: pictures that none of its files lists, lists of splits
that its format knows nothing of."""

from __future__ import annotations

import os
from pathlib import Path

from xfer.data.images.walk import is_junk, is_picture, listing, readable
from xfer.data.readers.base import Reading
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.files import NotAFile, head_of

LISTS = ("", "ImageSets", "imagesets", "splits", "split", "lists")  # folders of them
HEAD = 4096  # bytes of a list
MOST = 100_000  # pictures of a set; of larger ones the folders are not listed again


def note_unlisted(reading: Reading) -> None:
    """Records in `reading` the pictures in the folders of its parts that are in none of them."""
    parts = [p for p in reading.parts.values() if isinstance(p, FileSource)]
    if sum(map(len, parts)) > MOST:
        return
    used: set[str] = set()
    for part in parts:
        root = os.path.abspath(part.root)  # noqa: PTH100 text is much quicker than paths
        used |= {os.path.normpath(os.path.join(root, file)) for file in part.files}  # noqa: PTH118
    gone = {name for name, _ in reading.skipped}
    found = [
        readable(entry.name)
        for folder in sorted({file.rpartition("/")[0] for file in used})
        for entry in listing(Path(folder))
        if is_picture(entry.name) and not is_junk(entry.name)
        and f"{folder}/{entry.name}" not in used and entry.name not in gone
    ]  # fmt: skip
    reading.leave("picture that no file lists", "pictures that no file lists", found)


def note_lists(path: Path, reading: Reading) -> None:
    """Warns of lists named like splits (train.txt, val.txt) that name pictures of an undivided set:
    those who made it divided it otherwise than a random cut will."""
    if [*reading.parts] != [WHOLE] or len(part := reading.parts[WHOLE]) > MOST:
        return
    if not isinstance(part, FileSource):
        return
    told = {name for names in reading.unused.values() for name in names}
    files = [Path(entry.path) for folder in LISTS for entry in listing(path / folder)
             if entry.name.casefold().endswith(".txt") and role_of(entry.name[:-4])
             and entry.name not in told]  # fmt: skip
    if not files:
        return
    stems = {Path(file).stem for file in part.files}
    found = [file.relative_to(path).as_posix() for file in files if _names_all(file, stems)]
    if found:
        reading.notes.append(
            f"warning: lists of splits that this format does not use: {', '.join(found)}"
        )


def _names_all(file: Path, stems: set[str]) -> bool:
    """Whether the first lines of a list name pictures with these names."""
    try:
        head = head_of(file, HEAD)
    except (OSError, NotAFile):
        return False
    lines = head.decode("utf-8-sig", "replace").splitlines()
    cells = [line.split()[0].replace("\\", "/").rpartition("/")[2]
             for line in lines[: -1 if len(head) == HEAD else None] if line.strip()]  # fmt: skip
    return bool(cells) and all(cell in stems or Path(cell).stem in stems for cell in cells)
