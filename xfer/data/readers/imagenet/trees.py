"""ImageNet unpacked: train/<wnid>/ with val/<wnid>/ or a flat val/, Kaggle's tree, Tiny-ImageNet.

| tree | training pictures | labels of val |
|--|--|--|
| unpacked, Imagenette, Imagewoof | train/<wnid>/*.JPEG | val/<wnid>/, or flat by the devkit |
| Kaggle | ILSVRC/Data/CLS-LOC/train/<wnid>/*.JPEG | LOC_val_solution.csv, or the devkit |
| Tiny-ImageNet | train/<wnid>/images/*.JPEG | val/val_annotations.txt |

Listing a million files takes minutes on a slow disk, so it is done once: the index is kept until
the time of change of one of the folders differs. A picture that is overwritten in place goes
unnoticed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xfer.data.images.walk import is_junk, is_picture, listing, subfolders
from xfer.data.readers.imagenet.devkit import PAGE, devkit_states, find_devkit, read_devkit
from xfer.data.sources.index_file import Entries, kept_index, state_of
from xfer.data.sources.indexed import IndexedSource
from xfer.data.sources.wordnet import class_names, is_wnid, read_words
from xfer.errors import DataError, reader
from xfer.files import text_of
from xfer.types import DataInfo

KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
SOLUTION, MAPPING = "LOC_val_solution.csv", "LOC_synset_mapping.txt"
ANNOTATIONS, WORDS = "val_annotations.txt", "words.txt"


@dataclass(frozen=True)
class Tree:
    """The parts of a tree: `splits` is name -> folder; `top` may hold the devkit or a csv."""

    what: str
    top: Path
    splits: dict[str, Path]


def find_tree(path: Path) -> Tree | None:
    """The tree in a folder; None if its class folders are not named by WordNet ids."""
    for inside in KAGGLE:
        if (path / inside / "train").is_dir():
            return Tree("Kaggle's tree", path, split_folders(path / inside))
    splits = split_folders(path)
    if splits:
        if not wnid_folders(next(iter(splits.values()))):
            return None
        tiny = (path / "val" / ANNOTATIONS).is_file()
        return Tree("Tiny-ImageNet" if tiny else "folders by WordNet id", path, splits)
    if wnid_folders(path):
        return Tree("folders by WordNet id", path, {"all": path})
    return None


def split_folders(folder: Path) -> dict[str, Path]:
    """Those of train/, val/ and test/ that exist."""
    return {s: folder / s for s in ("train", "val", "test") if (folder / s).is_dir()}


def wnid_folders(folder: Path) -> list[Path]:
    """A folder's subfolders, if all of them are named by WordNet ids; else none."""
    folders = subfolders(folder)
    return folders if all(is_wnid(f.name) for f in folders) else []


def read_tree(tree: Tree, verify: bool = True) -> tuple[dict[str, IndexedSource], list[str]]:
    """The splits of a tree, and lines about what was left out. Raises DataError."""
    parts: dict[str, IndexedSource] = {}
    notes: list[str] = []
    for split, folder in tree.splits.items():
        root = tree.splits["train"].parent if "train" in tree.splits else tree.top
        classes = wnid_folders(folder)
        if classes:
            parts[split] = _by_folder(tree, root, split, classes, verify)
        elif split == "test":
            notes.append(f"{folder}: no labels, so it is left out")
        else:
            parts[split] = _flat(tree, root, split, folder, verify)
    return parts, notes


def _by_folder(
    tree: Tree, root: Path, split: str, classes: list[Path], verify: bool
) -> IndexedSource:
    """Pictures in class folders; in Tiny-ImageNet each has a folder `images`."""
    deep = [f / "images" for f in classes]
    folders = deep if deep[0].is_dir() else classes
    words = _word_files(tree)
    states = ["folders", str(root.absolute()), *map(state_of, words)]
    for folder in folders:
        try:
            states.append(state_of(folder))
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror}") from None

    def make() -> Entries:
        listed: list[tuple[str, str]] = []
        empty: list[str] = []
        for wnid, folder in zip((c.name for c in classes), folders, strict=True):
            names = [(name, wnid) for name in _pictures(folder, root)]
            listed += names
            empty += [] if names else [wnid]
        entries = _entries(listed, _words(words), f"{tree.top}: {split}")
        if empty:
            more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
            entries.notes.append(f"warning: {split}: no pictures of {empty[0]}{more}")
        return entries

    return _source(tree, root, split, states, make, verify)


def _flat(tree: Tree, root: Path, split: str, folder: Path, verify: bool) -> IndexedSource:
    """Pictures in one folder, with their labels in a file."""
    words, labels = _word_files(tree), folder / ANNOTATIONS
    if labels.is_file():
        folder = folder / "images"
        states, truth = [state_of(labels)], lambda: _annotations(labels)
    elif (csv_file := tree.top / SOLUTION).is_file():
        states, truth = [state_of(csv_file)], lambda: _solution(csv_file)
    else:
        kit = find_devkit(tree.top)
        if kit is None:
            raise DataError(
                f"{folder}: neither folders by WordNet id nor labels for its pictures",
                f"put the devkit into {tree.top}: {PAGE}",
            )
        states, truth = devkit_states(kit), lambda: read_devkit(kit).label
    states = ["flat", str(root.absolute()), state_of(folder), *states, *map(state_of, words)]

    def make() -> Entries:
        label_of = truth()
        listed = ((name, label_of(Path(name).stem)) for name in _pictures(folder, root))
        return _entries(listed, _words(words), str(folder))

    return _source(tree, root, split, states, make, verify)


def _source(
    tree: Tree,
    root: Path,
    split: str,
    states: list[str],
    make: Callable[[], Entries],
    verify: bool,
) -> IndexedSource:
    index = kept_index(states, make, verify)
    return IndexedSource(DataInfo(tree.top.name, "classify", index.classes, split), root, index)


def _pictures(folder: Path, root: Path) -> Iterable[str]:
    """The pictures of a folder as paths below root. Raises DataError for unprintable names."""
    below = folder.relative_to(root).as_posix()
    for entry in listing(folder):
        if is_picture(entry.name) and not is_junk(entry.name):
            if not entry.name.isprintable():
                raise DataError(f"{folder}: {entry.name!r}: the name of a picture must be text")
            yield f"{below}/{entry.name}" if below != "." else entry.name


def _entries(listed: Iterable[tuple[str, str]], words: Mapping[str, str], where: str) -> Entries:
    """Index entries for picture files, from (path, wnid)."""
    entries, wnids = Entries(), list[str]()
    for name, wnid in listed:
        entries.add(name, 0, 0, -1, 0)
        wnids.append(wnid)
    if not wnids:
        raise DataError(f"{where}: no pictures in it")
    ordered = sorted(set(wnids))
    place = {wnid: k for k, wnid in enumerate(ordered)}
    entries.labels = [place[wnid] for wnid in wnids]
    entries.classes = class_names(ordered, words)
    return entries


def _word_files(tree: Tree) -> list[Path]:
    return [f for n in (WORDS, MAPPING) if (f := tree.top / n).is_file()]


def _words(files: Iterable[Path]) -> dict[str, str]:
    return {wnid: words for file in files for wnid, words in read_words(file).items()}


@reader
def _annotations(file: Path) -> Callable[[str], str]:
    """Tiny-ImageNet's labels: file name, wnid and a box per line, separated by tabs."""
    rows = (line.split("\t") for line in _text(file).splitlines() if line)
    return _table(file, [(row[0], row[1] if len(row) > 1 else "") for row in rows])


@reader
def _solution(file: Path) -> Callable[[str], str]:
    """Kaggle's labels: ImageId, then "wnid x1 y1 x2 y2" repeated; the first wnid is the label."""
    try:
        rows = [row for row in csv.reader(_text(file).splitlines()) if row][1:]
    except csv.Error as error:
        raise DataError(f"{file}: damaged ({error})") from None
    return _table(file, [(row[0], row[1].split(" ")[0] if len(row) > 1 else "") for row in rows])


def _text(file: Path) -> str:
    try:
        return text_of(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: can't be read ({error})") from None


def _table(file: Path, rows: list[tuple[str, str]]) -> Callable[[str], str]:
    """Name without extension -> wnid, from the rows of a file. Raises DataError for bad rows."""
    for number, (name, wnid) in enumerate(rows, 1):
        if not is_wnid(wnid):
            raise DataError(f"{file}: row {number}: {wnid!r} of {name} is not a WordNet id")
    table = {Path(name).stem: wnid for name, wnid in rows}

    def label_of(name: str) -> str:
        if name not in table:
            raise DataError(
                f"{file}: no label for {name}", "a row is missing, or the file is cut off"
            )
        return table[name]

    return label_of
