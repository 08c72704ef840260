"""Pictures that lie beside those of a set, and that none of its files lists: they are counted."""

from __future__ import annotations

import os
from pathlib import Path

from xfer.data.images.walk import is_junk, is_picture, listing, readable
from xfer.data.readers.base import Reading
from xfer.data.sources.files import FileSource

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
