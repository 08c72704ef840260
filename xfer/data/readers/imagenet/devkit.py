"""The development kit of ILSVRC2012: the ids of the classes, and the labels of the val pictures.

The kit numbers its classes by ILSVRC2012_ID, 1 to 1000, which is not the order of the wnids: a
label is mapped from ID to wnid, and the sorted wnids are the classes.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfer.data.readers.matlab import Struct, variables
from xfer.data.sources.index_file import state_of
from xfer.data.sources.wordnet import is_wnid
from xfer.data.sources.written import whole_number
from xfer.errors import DataError, reader
from xfer.files import MB, bytes_of

NAME = "ILSVRC2012_devkit_t12"
META, TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
PAGE = f"{NAME}.tar.gz is on https://image-net.org/challenges/LSVRC/2012/2012-downloads.php"
_LARGEST = 64 * MB
NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})")


@dataclass(frozen=True)
class Devkit:
    """The content of a kit.

    place | the archive or folder
    words | wnid -> words, of the leaves
    truth | wnid of each val picture, from ILSVRC2012_val_00000001 on
    """

    place: Path
    words: dict[str, str]
    truth: tuple[str, ...]

    def label(self, name: str) -> str:
        """The wnid of a val picture, by its name without extension. Raises DataError if unknown."""
        match = NUMBER.fullmatch(name)
        number = None if match is None else whole_number(match[1])
        if number is None or not 1 <= number <= len(self.truth):
            raise DataError(
                f"{self.place}: no label for {name}",
                f"it labels ILSVRC2012_val_00000001 to ILSVRC2012_val_{len(self.truth):08d}",
            )
        return self.truth[number - 1]


def find_devkit(folder: Path) -> Path | None:
    """The kit's archive, or the folder that it was unpacked to. Raises DataError if there is only
    the kit of another year."""
    places = [folder / f"{NAME}.tar.gz", folder / f"{NAME}.tgz", folder / f"{NAME}.tar",
              folder / NAME, folder / "devkit", folder]  # fmt: skip
    for place in places:
        if place.is_file() or (place / META).is_file():
            return place
    others = sorted(p.name for p in folder.glob("ILSVRC20*devkit*"))
    if others:
        raise DataError(f"{folder / others[0]}: the devkit of another year or task", PAGE)
    return None


def devkit_states(place: Path) -> list[str]:
    """Texts that change with the kit, for the key of an index."""
    files = [place] if place.is_file() else [place / META, place / TRUTH]
    return [state_of(f) for f in files if f.is_file()]


@reader
def read_devkit(place: Path) -> Devkit:
    """Read a kit. Raises DataError if a part is missing, damaged, or of another year."""
    meta, truth = _parts(place)
    ids, words = _synsets(place, meta)
    labels: list[str] = []
    for number, line in enumerate(truth.split(), 1):
        label = whole_number(line)
        if label is None or label not in ids:
            raise DataError(
                f"{place}: {TRUTH}: line {number}: label {line} is out of range",
                f"its meta.mat has classes {min(ids)} to {max(ids)}",
            )
        labels.append(ids[label])
    return Devkit(place, words, tuple(labels))


def _parts(place: Path) -> tuple[bytes, str]:
    """The bytes of meta.mat, and the text of the ground truth."""
    try:
        if place.is_dir():
            contents = {name: bytes_of(place / name, _LARGEST) for name in (META, TRUTH)
                     if (place / name).is_file()}  # fmt: skip
            listed = [p.name for p in (place / "data").iterdir()]
        else:
            with tarfile.open(place, "r:*") as tar:
                inside = {m.name.removeprefix("./").partition("/")[2]: m for m in tar.getmembers()}
                contents = {name: _content(tar, inside[name]) for name in (META, TRUTH)
                         if name in inside}  # fmt: skip
                listed = [name.rpartition("/")[2] for name in inside]
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        why = str(error).partition("\n")[0]
        raise DataError(f"{place}: cut off or damaged ({why})", PAGE) from None
    for name in (META, TRUTH):
        if name not in contents:
            other = next((n for n in listed if re.match(r"ILSVRC20\d\d_validation_gr", n)), "")
            year = f"; it has {other}, of another year" if other else ""
            raise DataError(f"{place}: no {name} in it{year}", PAGE)
    return contents[META], contents[TRUTH].decode("ascii", "replace")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if member.size > _LARGEST:
        raise DataError(f"{member.name} in it has {member.size:,} bytes", PAGE)
    return b"" if file is None else file.read()


def _synsets(place: Path, meta: bytes) -> tuple[dict[int, str], dict[str, str]]:
    """ID -> wnid and wnid -> words, for the leaves, which are the classes."""
    try:
        table = variables(meta, ["synsets"], META).get("synsets")
        fields: dict[str, tuple[Any, ...]] = table.fields if isinstance(table, Struct) else {}
        if "ILSVRC2012_ID" not in fields:
            year = next((f for f in sorted(fields) if f.startswith("ILSVRC")), "no ILSVRC2012_ID")
            raise DataError(f"{place}: the devkit of another year ({META} has {year})", PAGE)
        columns = (fields[name] for name in ("ILSVRC2012_ID", "num_children", "WNID", "words"))
        leaves = [
            (int(number.item()), wnid, words)
            for number, children, wnid, words in zip(*columns, strict=True)
            if int(children.item()) == 0
        ]
        ids = {number: str(wnid) for number, wnid, _ in leaves}
        # an empty text is read as an empty array
        words = {str(wnid): text for _, wnid, text in leaves if isinstance(text, str) and text}
    except DataError as error:
        if error.message.startswith(META):
            raise DataError(f"{place}: {error.message}", PAGE) from None
        raise
    except (AttributeError, KeyError, ValueError, OverflowError) as error:
        raise DataError(f"{place}: {META} is damaged ({error})", PAGE) from None
    if not ids or not all(map(is_wnid, ids.values())):
        raise DataError(f"{place}: {META} lists no classes", PAGE)
    return ids, words
