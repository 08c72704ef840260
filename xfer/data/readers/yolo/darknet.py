"""Darknet's files: names of classes by line, and lists of pictures with a txt beside each.

    obj.data, obj.names, train.txt, obj_train_data/    darknet; CVAT's YOLO 1.1
    _darknet.labels in each split's folder             Roboflow; a table for each split
    classes.txt (obj.names), images/, labels/          labelImg, Label Studio
    classes.txt, and a txt next to each picture        labelImg

Paths in obj.data and in the lists begin with data/ or with a folder of another machine: the longest
end that exists is meant. Where a split has a table of its own (labels/val/classes.txt), its numbers
mean the names in that table.
"""

from __future__ import annotations

from pathlib import Path

from xfer.data.images.walk import is_junk, is_picture, listing, subfolders
from xfer.data.readers.table.locate import split_of_folder
from xfer.data.readers.yolo.setup import Setup, Split, distinct, find_places
from xfer.data.sources.split_names import WHOLE, role_of, split_folders
from xfer.errors import DataError
from xfer.files import lines_of

ROBOFLOW = "_darknet.labels"
PROBED = 200  # label files
TABLES = ("classes.txt", "obj.names")
KEYS = ("train", "valid", "val", "test")


def find_data_file(path: Path) -> Path | None:
    """The obj.data of a path: itself, or the only file in a folder that names lists and names."""
    if path.is_file():
        return path if path.suffix == ".data" and "names" in read_data_file(path) else None
    files = _files(path, ".data") or _files(path / "data", ".data")
    found = [f for f in files if "names" in (keys := read_data_file(f))
             and any(split in keys for split in KEYS)]  # fmt: skip
    return found[0] if len(found) == 1 else None


def read_data_file(file: Path) -> dict[str, str]:
    """The keys of a darknet file, `train = data/train.txt`; empty if it is something else."""
    try:
        lines = lines_of(file)
    except DataError:
        return {}
    pairs = [line.partition("=") for line in lines if not line.startswith("#")]
    if not all(sign for _, sign, _ in pairs):
        return {}
    return {key.strip(): value.strip() for key, _, value in pairs}


def data_file_setup(file: Path) -> Setup:
    """The set that an obj.data describes."""
    keys = read_data_file(file)
    root = file.parent
    names, _ = find_places(file, {"names": [keys["names"]]}, [root])
    table = names["names"][0]
    written = {split: [keys[split]] for split in KEYS if keys.get(split)}
    if not written:
        raise DataError(f"{file}: none of {', '.join(KEYS)} in it", "train = data/train.txt")
    classes = distinct(table, lines_of(table))
    # darknet's programs want a line for valid, whether there is such a list or not
    there = {split: texts for split, texts in written.items()
             if split == "train" or _there(file, texts)}  # fmt: skip
    gone = [f"{file.name}: {split}: {written[split][0]} is not there: left out"
            for split in written if split not in there]  # fmt: skip
    places, notes = find_places(file, there, [root])
    splits = {split: Split(own, classes) for split, own in places.items()}
    return Setup(root, splits, (*gone, *notes))


def _there(file: Path, texts: list[str]) -> bool:
    try:
        find_places(file, {"": texts}, [file.parent])
    except DataError:
        return False
    return True


def tables_of_splits(path: Path) -> list[Path]:
    """The files of class names in Roboflow's split folders."""
    files = [f / ROBOFLOW for f in subfolders(path) if role_of(f.name)]
    return [file for file in files if file.is_file()]


def roboflow_setup(path: Path) -> Setup:
    """The set of Roboflow's split folders, each with its own table."""
    tables = tables_of_splits(path)
    return Setup(path, {t.parent.name: Split([t.parent], distinct(t, lines_of(t)))
                        for t in tables})  # fmt: skip


def find_table(path: Path) -> tuple[Path, Path, str] | None:
    """For a folder without a yaml: the file of class names, the folder of the pictures, and in
    words where the labels are."""
    if not path.is_dir():
        return None
    labels = path / "labels"
    tables = [path / name for name in TABLES] + [labels / name for name in TABLES]
    if labels.is_dir():
        tables += [own / name for own in subfolders(labels) for name in TABLES if role_of(own.name)]
    there = [file for file in tables if file.is_file()]
    if there and (path / "images").is_dir() and labels.is_dir():
        return there[0], path / "images", "labels/"
    near = [file for file in there if file.parent == path]
    if near and _beside(path):
        return near[0], path, "a txt next to each picture"
    if near and (lists := _lists(path)):
        return near[0], path, f"lists {', '.join(f.name for f in lists)}"
    if near and (folders := [f.name for f in subfolders(path) if _beside(f)]):
        return near[0], path, f"a txt next to each picture in {', '.join(folders[:3])}"
    return None


def _beside(folder: Path) -> bool:
    """Whether a picture in a folder has a txt of its name next to it."""
    names = {e.name for e in listing(folder) if not is_junk(e.name)}
    return any(is_picture(name) and f"{Path(name).stem}.txt" in names for name in names)


def nameless(path: Path) -> set[int]:
    """The numbers of classes in the first label files of a folder with images/ and labels/, or with
    splits that have them; empty if there are none."""
    if not path.is_dir():
        return set()
    tops = [f for f in (path, *subfolders(path)) if f == path or role_of(f.name)]
    tops = [f for f in tops if (f / "images").is_dir() and (f / "labels").is_dir()]
    folders = [f for top in tops for f in (top / "labels", *subfolders(top / "labels"))]
    numbers: set[int] = set()
    for file in [file for folder in folders for file in _files(folder, ".txt")][:PROBED]:
        try:
            rows = [line.split() for line in lines_of(file)]
            if any(len(row) < 5 or max(map(float, row[1:5])) > 2 for row in rows):
                return set()
            numbers |= {int(row[0]) for row in rows}
        except (DataError, ValueError):
            return set()
    return numbers


def _lists(path: Path) -> list[Path]:
    """Lists of pictures by split in a folder: train.txt, valid.txt."""
    files = [f for f in _files(path, ".txt") if role_of(f.stem)]
    return [f for f in files if (lines := lines_of(f)) and all(map(is_picture, lines[:9]))]


def table_setup(path: Path, table: Path, pictures: Path, named: tuple[str, ...]) -> Setup:
    """The set of a folder with a file of class names, see `find_table`."""
    classes = distinct(table, lines_of(table))
    if pictures == path and (lists := _lists(path)):
        return Setup(path, {f.stem: Split([f], classes) for f in lists})
    if pictures == path and not _beside(path):  # obj_train_data/, obj_valid_data/
        places = [f for f in subfolders(path) if _beside(f)]
        words = [split_of_folder(f.name) for f in places]
        if None not in words and len(set(words)) == len(words):
            return Setup(path, {str(word): Split([f], classes)
                                for word, f in zip(words, places, strict=True)})  # fmt: skip
        return Setup(path, {WHOLE: Split(places, classes)})
    folders = split_folders(pictures, named, subfolders(pictures))
    if not folders:
        return Setup(path, {WHOLE: Split([pictures], classes)})
    own: dict[str, tuple[str, ...]] = {}
    for folder in folders:
        files = [path / "labels" / folder.name / name for name in TABLES]
        file = next((f for f in files if f.is_file()), None)
        own[folder.name] = classes if file is None else distinct(file, lines_of(file))
    return Setup(path, {f.name: Split([f], own[f.name]) for f in folders})


def _files(folder: Path, ending: str) -> list[Path]:
    files = [Path(e.path) for e in listing(folder) if not is_junk(e.name)]
    return [f for f in files if f.suffix == ending and f.is_file()]
