"""Lists that say which pictures belong to which split: train.txt and val.txt next to images/.

    train.txt, val.txt, test.txt     a line per picture: its stem, its name or its path; also
                                     train_list.txt, or in a folder lists/ or splits/; train.csv
    images/x.jpg masks/x.png         ... with its mask behind (PaddleSeg), which then decides
    valid.txt                        alone (fast.ai): all other pictures are train
    train_1.png, testA_1.png         no lists, but every name has a word for a split

Lists are read where the folders do not say which pictures are val. Lines that name no picture are
counted; pictures that no list names are left out, and counted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xfer.data.images.walk import is_junk, is_picture, listing, nfc, subfolders
from xfer.data.readers.base import Reading
from xfer.data.readers.masks.folder_words import words
from xfer.data.readers.masks.layout import Pairs
from xfer.data.readers.masks.pairing import stem
from xfer.data.readers.table.locate import split_of_folder
from xfer.data.sources.split_names import WHOLE, role_of, role_word
from xfer.errors import DataError, listed, reader
from xfer.files import is_file, text_of

SUFFIXES = (".txt", ".lst", ".list", ".csv")
TABLE = ".csv"
FOLDERS = ("lists", "list", "splits", "split", "image_lists", "file_lists")
TRAINVAL = "trainval"
COVERED = 0.95  # of the pictures, by lists that are not beside the folders
ROLES = ("train", "val", "test")


@dataclass
class SplitList:
    """A list of pictures: the pictures that it names, and lines that name none.

    masks | picture -> mask, for lines that name both
    """

    file: Path
    pictures: dict[Path, None] = field(default_factory=dict[Path, None])
    masks: dict[Path, Path] = field(default_factory=dict[Path, Path])
    lost: list[str] = field(default_factory=list[str])


def split_by_lists(path: Path, parts: Sequence[Pairs], reading: Reading) -> list[Pairs]:
    """The parts of a set, with the pictures of one divided by the lists next to it, if there are.

    Adds lines to `reading` about what is used, and what is not. Raises: DataError for a list that
    is not text.
    """
    beside = [f for f in subfolders(path) if f.name.casefold() in FOLDERS]
    files, spare = _files([path, *beside])
    pairs = next((part.files[0] for part in parts if part.files), ())
    inner = {f for file in pairs for f in file.parents if f.is_relative_to(path)} - {path}
    inside, spare_inside = _files(sorted(inner - {*beside}))
    roles = {role_of(part.name) for part in parts}
    whole = next((p for p in parts if p.name == WHOLE or role_of(p.name) == "train"), None)
    if not files and whole is not None and _divide(inside, _Index(path, whole), whole):
        files, inside = inside, dict[str, Path]()
    reading.leave("list", "lists", _names(path, [*spare, *inside.values(), *spare_inside]))
    if not files:
        return _by_names(parts, reading)
    if whole is None or "val" in roles:
        reading.leave("list", "lists", _names(path, files.values()))
        return list(parts)
    index = _Index(path, whole)
    lists = {role: _read(file, index) for role, file in files.items()}
    lists = {role: one for role, one in lists.items() if len(one.pictures) > len(one.lost)}
    taken = [role for role in lists if role not in roles or role_of(whole.name) == role]
    unused = [file for role, file in files.items() if role not in taken]
    if not taken:
        reading.leave("list", "lists", _names(path, files.values()))
        return _by_names(parts, reading)
    reading.leave("list", "lists", _names(path, unused))
    found = {role: lists[role] for role in ROLES if role in taken}
    for one in found.values():
        if one.lost:
            reading.notes.append(
                f"warning: {one.file.name}: {len(one.lost)} of "
                f"{len(one.lost) + len(one.pictures)} lines name no picture "
                f"({listed(one.lost, 3)})"
            )
    named = {picture for one in found.values() for picture in one.pictures}
    everything = [*(p for p, _ in whole.files), *whole.without_mask]
    rest = [p for p in everything if p not in named]
    divided = {role: list(one.pictures) for role, one in found.items()}
    how = ", ".join(f"{role} by {one.file.name}" for role, one in found.items())
    if "train" not in found:
        divided = {"train": rest, **divided}
        how += "; all other pictures are train"
    elif rest:
        reading.leave("picture in no list", "pictures in no list", [p.name for p in rest])
    reading.notes.append(f"splits by lists: {how}")
    masks = {p: m for one in found.values() for p, m in one.masks.items()}
    own = [_part(role, pictures, whole, masks) for role, pictures in divided.items()]
    own[0].without_picture.extend(whole.without_picture)
    return [*own, *(part for part in parts if part is not whole)]


def _divide(files: dict[str, Path], index: _Index, whole: Pairs) -> bool:
    """Whether lists in the folders of the pictures or masks (Oxford's annotations/trainval.txt and
    test.txt) are without doubt: of train and another split, all lines a picture, none in two, and
    hardly a picture in none."""
    if "train" not in files or len(files) < 2:
        return False
    lists = [_read(file, index) for file in files.values()]
    named = [picture for one in lists for picture in one.pictures]
    if len({*named}) < len(named) or any(one.lost or not one.pictures for one in lists):
        return False
    return len(named) >= COVERED * (len(whole.files) + len(whole.without_mask))


def _by_names(parts: Sequence[Pairs], reading: Reading) -> list[Pairs]:
    """The pictures of a set without splits, divided by a word in their names if all have one and
    some are of train: train_1.bmp, testA_1.bmp."""
    if len(parts) != 1 or parts[0].name != WHOLE:
        return list(parts)
    whole = parts[0]
    divided: dict[str, list[Path]] = defaultdict(list)
    for picture in (*(p for p, _ in whole.files), *whole.without_mask):
        roles = {role for word in words(stem(picture.name)) if (role := role_of(word))}
        divided[next(iter(roles)) if len(roles) == 1 else ""].append(picture)
    if "" in divided or "train" not in divided or len(divided) < 2:
        return list(parts)
    counts = ", ".join(f"{role} {len(divided[role])}" for role in ROLES if role in divided)
    reading.notes.append(f"splits by a word in the pictures' names: {counts}")
    own = [_part(role, divided[role], whole, {}) for role in ROLES if role in divided]
    own[0].without_picture.extend(whole.without_picture)
    return own


def _part(role: str, pictures: Sequence[Path], whole: Pairs, masks: dict[Path, Path]) -> Pairs:
    """The pictures of one list."""
    known = dict(whole.files) | masks
    return Pairs(
        role,
        [(p, known[p]) for p in pictures if p in known],
        [p for p in pictures if p not in known],
        [],
        {p: more for p, more in whole.more.items() if p not in masks},
    )


def _files(folders: Sequence[Path]) -> tuple[dict[str, Path], list[Path]]:
    """Role -> its list in some folders, and lists that are of no use: of several for a role, the
    one whose name is the split's is taken, else none (train_fold1.txt, train_fold2.txt)."""
    files = [Path(e.path) for f in folders for e in listing(f) if not is_junk(e.name)]
    files = [f for f in files if f.suffix.casefold() in SUFFIXES and f.is_file()]
    named: dict[str, list[Path]] = defaultdict(list)
    worded: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        if (role := role_of(file.stem)) is not None:
            named[role].append(file)
        elif file.suffix.casefold() == TABLE:
            continue  # a table with more words in its name may hold anything
        elif file.stem.casefold() == TRAINVAL:
            worded["train"].append(file)
        elif (role := role_of(role_word(file.stem) or "")) is not None:
            worded[role].append(file)
    found: dict[str, Path] = {}
    for role in ROLES:
        own = named[role][:1] or (worded[role] if len(worded[role]) == 1 else [])
        if own:
            found[role] = own[0]
    rest = [f for group in (named, worded) for own in group.values() for f in own]
    return found, [f for f in rest if f not in found.values()]


def _names(path: Path, files: Iterable[Path]) -> list[str]:
    return [f.relative_to(path).as_posix() for f in files]


@reader
def _read(file: Path, index: _Index) -> SplitList:
    try:
        lines = text_of(file).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: {error}") from None
    one = SplitList(file)
    if file.suffix.casefold() == TABLE and lines and not index.knows(lines[0]):
        lines = lines[1:]  # a header
    for line in dict.fromkeys(line.strip() for line in lines):
        if not line or line.startswith("#"):
            continue
        cells = re.split(r"[\s,;]+", line)
        mask = index.mask(cells[1]) if len(cells) == 2 else None
        picture = None if mask is not None else index.find(line)
        if picture is None and len(cells) > 1:
            picture = index.find(cells[0])
            if picture is not None and mask is not None:
                one.masks[picture] = mask
        if picture is None:
            one.lost.append(line)
        else:
            one.pictures[picture] = None
    return one


def _splits(folders: Iterable[str]) -> set[str | None]:
    """The roles that the names of folders speak of."""
    return {split_of_folder(name) for name in folders} - {None}


class _Index:
    """Finds the pictures of a part by what a list calls them."""

    def __init__(self, path: Path, part: Pairs) -> None:
        self.path = path
        self._names: dict[str, dict[Path, None]] = defaultdict(dict)
        for picture in (*(p for p, _ in part.files), *part.without_mask):
            for name in (picture.name, stem(picture.name)):
                self._names[nfc(name).casefold()][picture] = None
        for picture, mask in part.files:  # lists of masks name their pictures
            for name in (mask.name, stem(mask.name)):
                self._names.setdefault(nfc(name).casefold(), {picture: None})

    def find(self, text: str) -> Path | None:
        """The picture that a text names; None if there is none, or more than one."""
        parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts:
            return None
        last = nfc(parts[-1]).casefold()
        near = list(self._names.get(last) or self._names.get(nfc(stem(last)), {}))
        for depth in range(1, len(parts)):
            deeper = [p for p in near if p.parts[-1 - depth : -1] == tuple(parts[-1 - depth : -1])]
            near = deeper or near
        if len(near) != 1:
            return None
        own, written = _splits(near[0].relative_to(self.path).parts[:-1]), _splits(parts[:-1])
        # train/1.jpg is not test/1.jpg
        return near[0] if not own or not written or own & written else None

    def knows(self, line: str) -> bool:
        """Whether a line, or its first word, names a picture."""
        return any(self.find(text) is not None for text in (line, re.split(r"[\s,;]+", line)[0]))

    def mask(self, text: str) -> Path | None:
        """The file that a text names as a mask, if it is there."""
        name = text.replace("\\", "/").lstrip("/")
        places = (self.path / name, self.path.parent / name)
        return next((p for p in places if is_picture(p.name) and is_file(p)), None)
