"""Find the pictures and masks of a set, and which mask belongs to which picture.

    images/x.jpg, masks/x.png                 also images/train/, masks/train/
    train/images/x.jpg, train/masks/x.png
    train/x.jpg, train_labels/x_L.png         also trainannot/, or train_images/ and train_masks/
    train/x.jpg, train/x_mask.png             also without train/, or a folder deeper

Folders are recognised by words in their names (Images, JPEGImages, PedMasks, labels, gt ...). A
mask has its picture's name, perhaps with another word at either end: x_mask, x_L, mask_x, x_gt.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xfer.data.images.walk import (
    EXTENSIONS,
    find_pictures,
    has_picture,
    is_junk,
    is_picture,
    listing,
    nfc,
    subfolders,
)
from xfer.data.sources.split_names import WHOLE, role_of, split_folders
from xfer.errors import DataError

_IMAGE_FOLDERS = frozenset(
    ("image", "images", "img", "imgs", "jpegimages", "picture", "pictures", "pics", "photo",
     "photos", "input", "inputs", "rgb", "frames", "original", "originals", "jpegs")
)  # fmt: skip
_MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "annot", "annots", "gt", "gts",
    "groundtruth", "truth", "segmentation", "segmentations", "seg", "semantic", "targets", "target",
    "labelids", "lbl", "ann",
)  # fmt: skip
# words in names of folders with other forms of the masks: as colours for viewing, or by object
_OTHERS = frozenset(
    ("color", "colour", "colors", "visualization", "vis", "human", "overlay", "object", "objects",
     "instance", "instances", "json", "xml", "txt")
)  # fmt: skip
# names of folders that can't hold boxes
_SURE = frozenset(("mask", "masks", "gt", "gts", "groundtruth", "seg", "segmentation", "semantic"))
_MASK_WORD = (
    "masks?|labels?|label_?ids|label_?train_?ids|l|gt|ground_?truth|seg(?:mentation)?|annot(?:ation)?"
    "|ann|target|lbl|semantic"
)
FIRST = 2000
_IMAGE_WORD = "images?|img|rgb|sat|photo|picture|input"


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one split; masks: None if it has none, equal to images if they are mixed."""

    name: str
    images: Path
    masks: Path | None


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pictures of one split with their masks, and the files without a partner."""

    name: str
    files: list[tuple[Path, Path]]
    without_mask: list[Path]
    without_picture: list[Path]


def find_places(top: Path, named: tuple[str, ...] = ()) -> list[Place]:
    """The folders of each split of a set; empty if it is not a set of pictures and masks."""
    folders = subfolders(top)
    beside = _beside(folders)
    if beside is not None:
        images, masks = beside
        splits = split_folders(images, named, subfolders(images))
        return [Place(s.name, s, _same(s.name, masks)) for s in splits] or [
            Place(WHOLE, images, masks)
        ]
    places: list[Place] = []
    splits = split_folders(top, named, folders)
    masks_of = {f: m for f in folders if (m := _sibling(f, folders)) is not None}
    names = {f: f.name if f in splits else _without_images(f.name) for f in masks_of}
    for split in [*splits, *(f for f in masks_of if f not in splits)]:
        inner = _beside(subfolders(split))
        if inner is not None:
            places.append(Place(split.name, *inner))
        elif split in masks_of:
            places.append(Place(names[split], split, masks_of[split]))
        elif _is_mixed(split):
            places.append(Place(split.name, split, split))
        elif split not in masks_of.values() and has_picture(split):
            places.append(Place(split.name, _only_images(split), None))
    if not any(place.masks for place in places):
        return [Place(WHOLE, top, top)] if _is_mixed(top) else []
    return places


def pair(place: Place) -> Pairs:
    """Pair the pictures of a split with their masks. Raises DataError if several masks fit one."""
    if place.masks is None:
        return Pairs(place.name, [], find_pictures(place.images), [])
    if place.masks == place.images:
        inside = find_pictures(place.images)
        masks = [p for p in inside if _is_mask_name(p)]
        pictures = [p for p in inside if not _is_mask_name(p)]
    else:
        pictures, masks = find_pictures(place.images), find_pictures(place.masks)
    exact: dict[str, list[Path]] = defaultdict(list)
    loose: dict[str, list[Path]] = defaultdict(list)
    for mask in masks:
        exact[_key(mask, place.masks)].append(mask)
        loose[_key(mask, place.masks, _MASK_WORD)].append(mask)
    files: list[tuple[Path, Path]] = []
    without: list[Path] = []
    for picture in pictures:
        mates = exact.get(_key(picture, place.images)) or loose.get(_key(picture, place.images))
        mates = mates or loose.get(_key(picture, place.images, _IMAGE_WORD), [])
        if len(mates) > 1:
            raise DataError(
                f"{picture}: its mask may be {' or '.join(m.name for m in mates[:4])}",
                "keep one mask per picture",
            )
        if mates:
            files.append((picture, mates[0]))
        else:
            without.append(picture)
    taken = {mask for _, mask in files}
    return Pairs(place.name, files, without, [m for m in masks if m not in taken])


def first_pair(top: Path) -> tuple[Path, Path] | None:
    """A picture of a set and its mask; None if a folder is not a set of pictures and masks."""
    place = (
        next((p for p in find_places(top) if p.masks is not None), None) if top.is_dir() else None
    )
    if place is None:
        return None
    try:
        return next(iter(pair(place).files), None)
    except DataError:  # several masks fit one picture: loading reports it
        assert place.masks is not None
        return place.images, place.masks


def near_miss(top: Path) -> str | None:
    """What is wrong in a folder that looks like a set of pictures and masks but has no pair of
    them; None if it looks like something else."""
    for place in (top, *subfolders(top)):
        folders = subfolders(place)
        masks = [f for f in folders if _mask_rank(f.name) is not None]
        images = [f for f in folders if f not in masks and _is_images(f.name) and has_picture(f)]
        if not masks or not images:
            continue
        full = next((f for f in masks if has_picture(f)), None)
        if full is None:
            masks = [f for f in masks if _SURE & {*_words(f.name), "".join(_words(f.name))}]
            if not masks:
                continue
            others = sorted({Path(e.name).suffix for f in masks for e in listing(f)} - {""})
            content = f", but {', '.join(others[:3])} files" if others else ""
            return f"{masks[0].name}/ next to {images[0].name}/ holds no pictures{content}"
        pair = [find_pictures(f)[0].relative_to(place).as_posix() for f in (images[0], full)]
        return f"no mask has the name of a picture ({', '.join(pair)})"
    return None


def _words(name: str) -> list[str]:
    """The words in a folder's name: JPEGImages has jpeg, images; train_labels has train, labels."""
    return [w.casefold() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _mask_rank(name: str) -> int | None:
    """How likely a folder with this name holds the masks, 0 is likeliest; None: it does not."""
    words = _words(name)
    joined = "".join(words)
    if role_of(name):
        return None
    ranks = [_MASK_FOLDERS.index(w) for w in (*words, joined) if w in _MASK_FOLDERS]
    if not ranks:
        return None
    return min(ranks) + (100 if _OTHERS & set(words) else 0)


def _beside(folders: Sequence[Path]) -> tuple[Path, Path] | None:
    """The folders of pictures and of masks among several; None unless there are both."""
    ranked = [(rank, f.name, f) for f in folders if (rank := _mask_rank(f.name)) is not None]
    masks = next((f for _, _, f in sorted(ranked) if has_picture(f)), None)
    if masks is None:
        return None
    images = [f for f in folders if _mask_rank(f.name) is None and _is_images(f.name)]
    images = [f for f in images if has_picture(f)]
    return (images[0], _as_deep(images[0], masks)) if len(images) == 1 else None


def _as_deep(images: Path, masks: Path) -> Path:
    """The masks' folder, or its only subfolder if the pictures are not nested as deep: in the
    Oxford pets, annotations/ has trimaps/."""
    full = [f for f in subfolders(masks) if has_picture(f)]
    deeper = has_picture(images, deep=False) and not has_picture(masks, deep=False)
    return full[0] if deeper and len(full) == 1 else masks


def _is_images(name: str) -> bool:
    words = _words(name)
    return bool(_IMAGE_FOLDERS & {*words, "".join(words)}) and not role_of(name)


def _same(name: str, masks: Path) -> Path | None:
    """The masks' folder of a split: with its name, else with its role."""
    folders = subfolders(masks)
    own = [f for f in folders if f.name == name]
    own = own or [f for f in folders if role_of(name) and role_of(f.name) == role_of(name)]
    return own[0] if len(own) == 1 else None


def _sibling(folder: Path, folders: Sequence[Path]) -> Path | None:
    """The masks' folder next to a folder of pictures: train_labels or trainannot for train or
    train_images."""
    own = _without_images(folder.name)
    for other in folders:
        rest = other.name[len(own) :]
        if other.name.startswith(own) and rest and _mask_rank(rest) is not None:
            return other if has_picture(other) else None
    return None


def _without_images(name: str) -> str:
    """Shorten train_images to train; a name that only means pictures is not changed."""
    return re.sub(rf"(?i)[-_. ](?:{_IMAGE_WORD})$", "", name) or name


def _only_images(split: Path) -> Path:
    """The pictures of a split without masks: its images/ if it has one, else itself."""
    return next((f for f in subfolders(split) if _is_images(f.name)), split)


def _is_mixed(folder: Path) -> bool:
    """Whether pictures and their masks are in one folder, or in the first below it that holds
    pictures: most files named like masks have their pictures in the same folder."""
    names = own = _pictures(folder)
    if not own:
        names = next((inside for f in subfolders(folder) if (inside := _pictures(f))), [])
    masks = [name for name in names if _is_mask_name(Path(name))]
    if not own:  # x.jpg and x_L.jpg in a class folder may be two eyes; masks are not JPEGs
        masks = [name for name in masks if not name.casefold().endswith((".jpg", ".jpeg"))]
    stems = {stem for name in names for stem in (_stem(name), _stripped(_stem(name), _IMAGE_WORD))}
    mates = sum(_stripped(_stem(name), _MASK_WORD) in stems for name in masks)
    return bool(masks) and mates * 2 > len(masks)


def _pictures(folder: Path) -> list[str]:
    """The names of the pictures in a folder; if there are very many and none of the first FIRST is
    named like a mask, only those."""
    try:
        with os.scandir(folder) as entries:
            # the first names are enough to recognise a million pictures without masks
            names = [entry.name for entry in itertools.islice(entries, FIRST)]
            if len(names) == FIRST and any(_is_mask_name(Path(name)) for name in names):
                names += [entry.name for entry in entries]
    except OSError:
        return []
    return [name for name in names if is_picture(name) and not is_junk(name)]


def _is_mask_name(path: Path) -> bool:
    return _stripped(_stem(path.name), _MASK_WORD) != _stem(path.name)


def _stem(name: str) -> str:
    """A file's name without its extension; for x.jpg.png, without both."""
    stem = Path(name).stem
    return Path(stem).stem if Path(stem).suffix.casefold() in EXTENSIONS else stem


def _stripped(stem: str, word: str) -> str:
    """A stem without the words at its ends; unchanged if nothing else is left."""
    for _ in range(2):
        shorter = re.sub(rf"(?i)[-_. ](?:{word})$", "", stem) or stem
        stem = re.sub(rf"(?i)^(?:{word})[-_. ]", "", shorter) or shorter
    return stem


def _key(path: Path, top: Path, word: str = "") -> str:
    folder = path.parent.relative_to(top).as_posix()
    stem = _stem(path.name)
    return nfc(f"{folder}/{_stripped(stem, word) if word else stem}")
