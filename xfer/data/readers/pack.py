"""`pack`: a pack written by `xfer data pack`; xfer/data/pack/reader.py describes the layout."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from xfer.data.pack.reader import AGAIN, INDEX, NAME, STARTED, PackSource, read_index
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.errors import DataError
from xfer.files import NotAFile, head_of
from xfer.kinds.findings import counted
from xfer.types import Source


@FORMATS.register("pack")
class Pack:
    """A pack written by `xfer data pack`."""

    kinds: ClassVar[tuple[str, ...]] = (
        "classify", "multilabel", "detect", "segment", "instance", "images",
    )  # fmt: skip
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        if (path / STARTED).is_file():
            return "an unfinished pack"
        try:
            ours = f'"{NAME}"'.encode() in head_of((path / INDEX), 200)
            # its shards tell, too, if a bit of its name has turned
            return "a pack" if ours or (path / "shard-00000.bin").is_file() else None
        except (OSError, NotAFile):
            return None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        index = read_index(path, options.verify)
        try:
            parts: dict[str, Source] = {
                s: PackSource(path, index, s, options.verify) for s in index["splits"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path / INDEX}: damaged ({error!r})", AGAIN) from None
        size = sum(s["bin_bytes"] for s in index["shards"]) / 2**20
        note = (
            f"{counted(len(index['shards']), 'shard')} of {index['pixels']} pictures, {size:.0f} MB"
        )
        unverified = [] if options.verify else ["checksums are not compared (data.verify=false)"]
        return Reading(parts, [note, *unverified])
