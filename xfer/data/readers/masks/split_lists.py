"""Sets whose splits are lists of ids, with folders of pictures and masks: VOC and SBD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from xfer.data.images.walk import is_junk, listing
from xfer.data.readers.base import Reading
from xfer.data.readers.table.locate import Locator
from xfer.data.sources.box_rules import leave_out
from xfer.errors import DataError
from xfer.files import text_of


def read_lists(folder: Path) -> dict[str, tuple[str, ...]]:
    """File name without .txt -> its ids, one per line, each once; for the files that hold any."""
    lists: dict[str, tuple[str, ...]] = {}
    for entry in listing(folder):
        if is_junk(entry.name) or not entry.name.endswith(".txt"):
            continue
        try:
            lines = text_of(entry.path).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{entry.path}: {error}") from None
        ids = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
        if ids:
            lists[entry.name.removesuffix(".txt")] = ids
    return lists


def stems(folders: Sequence[Path], ending: str = ".png") -> dict[str, Path]:
    """File name without its ending -> file, in the first folder that has it."""
    files: dict[str, Path] = {}
    for folder in folders:
        for entry in listing(folder):
            if entry.name.endswith(ending) and not is_junk(entry.name):
                files.setdefault(entry.name.removesuffix(ending), Path(entry.path))
    return files


def find_all(
    root: Path,
    split: str,
    ids: Sequence[str],
    pictures: Sequence[Path],
    masks: Mapping[str, Path],
    skip_bad: bool,
    reading: Reading,
) -> tuple[list[str], list[str], list[str]]:
    """The ids of a split that have a picture and a mask, the pictures, and the masks; no masks if
    no id has one.

    Raises: DataError naming the ids that lack either, unless they may be left out.
    """
    locator = Locator(root.absolute() / "x", [p.absolute() for p in pictures])
    where = f"{root}, {split}"
    places = {name: locator.find(name) for name in ids}
    if not any(places.values()):
        looked = locator.places() or ", ".join(map(str, pictures))
        raise DataError(f"{where}: no picture is there", f"looked in {looked}")
    lost = [(name, "no such picture") for name, place in places.items() if place is None]
    leave_out(where, "pictures are not there", lost, skip_bad, reading.skipped)
    kept = [name for name, place in places.items() if place is not None]
    if any(name in masks for name in kept):
        bare = [(name, "no mask") for name in kept if name not in masks]
        leave_out(where, "pictures have no mask", bare, skip_bad, reading.skipped)
        kept = [name for name in kept if name in masks]
    files = [str(places[name]) for name in kept]
    return kept, files, [str(masks[name].absolute()) for name in kept if name in masks]
