"""Find the pictures and masks of a set, and which mask belongs to which picture.

    images/x.jpg, masks/x.png                 also images/train/, masks/train/
    train/images/x.jpg, train/masks/x.png     also Train/Urban/images_png/, Train/Urban/masks_png/
    train/x.jpg, train_labels/x_L.png         also trainannot/, or train_images/ and train_masks/
    A_Training_Input/x.jpg, A_Training_GroundTruth/x_segmentation.png
    train/x.jpg, train/x_mask.png             also without train/, or a folder deeper
    x/images/x.png, x/masks/*.png             a folder for each picture
    x_json/img.png, x_json/label.png

Folders are recognised by words in their names (Images, JPEGImages, PedMasks, labels, gt ...), or
by what their files hold, see `pairing`; the text that masks add to their pictures' names is learnt
from the names, see `stems`. A folder of pictures alone is a split if its name is one.
"""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xfer.data.images.walk import (
    find_pictures,
    has_picture,
    is_dir,
    is_junk,
    is_picture,
    listing,
    subfolders,
)
from xfer.data.readers.masks.folder_words import (
    SURE,
    Leaf,
    describe,
    is_images,
    mask_rank,
    words,
)
from xfer.data.readers.masks.pairing import (
    Candidate,
    candidates,
    choose,
    is_mask_name,
)
from xfer.data.sources.split_names import WHOLE
from xfer.errors import XferError

FIRST = 2000  # names of a folder that are enough to recognise what it holds
FEW_FOLDERS = 24  # of a folder that are looked into to recognise it
MOST_FOLDERS = 150


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one split; masks: None if it has none, equal to images if they are mixed."""

    name: str
    images: Path
    masks: Path | None


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pictures of one split with their masks, and the files without a partner.

    files | (picture, mask); more | picture -> further masks of it
    """

    name: str
    files: list[tuple[Path, Path]]
    without_mask: list[Path]
    without_picture: list[Path]
    more: dict[Path, list[Path]] = field(default_factory=dict[Path, list[Path]])


@dataclass(frozen=True)
class Layout:
    """How a set is laid out.

    parts   | its splits
    left    | folders of pictures that are neither, and folders and endings of other masks
    folders | those of the masks
    """

    parts: list[Pairs]
    left: list[str]
    folders: list[Path]


def find_layout(top: Path, named: tuple[str, ...] = (), label: str = "") -> Layout | None:
    """The splits of a set of pictures and masks; None if it is none.

    Args: named: names of splits; label: the folder or ending that holds the truth.

    Raises: XferError if several folders or endings may hold the masks; DataError if several masks
        fit one picture.
    """
    leaves = _leaves(top, named)
    found = candidates(leaves) if leaves else []
    chosen = choose(found, label)
    if chosen is None:
        return None
    layout = _layout(leaves, chosen, {m for c in found for own in c.pairs.values() for m in own})
    used = {leaf.folder for leaf in leaves if leaf.folder in chosen.leaves}
    for other in found:
        for folder, leaf in other.leaves.items():
            name = "/".join(leaf.parts)
            if folder not in used and other.form and name not in layout.left:
                layout.left.append(name)
    return layout


def _leaves(top: Path, named: tuple[str, ...]) -> list[Leaf]:
    """The folders that hold pictures; none if a first look at the names finds nothing of masks."""
    if not top.is_dir():
        return []
    looked, whole = _glance(top)
    if whole:
        return describe(top, looked, named)
    leaves = describe(top, looked, named)
    masks = any(leaf.role == "masks" for leaf in leaves)
    pictures = any(leaf.role != "masks" for leaf in leaves)
    mixed = any(_mostly_masks(leaf.names) for leaf in leaves)
    if not (mixed or (masks and pictures) or 1 < len(leaves) <= 4):
        return []
    folders: dict[Path, list[str]] = defaultdict(list)
    for path in find_pictures(top):
        folders[path.parent].append(path.name)
    return describe(top, folders, named)


def _mostly_masks(names: Sequence[str]) -> bool:
    masks = sum(is_mask_name(name) for name in names)
    return masks * 5 > len(names)


def _glance(top: Path) -> tuple[dict[Path, list[str]], bool]:
    """The names of the pictures in the first folders below `top`, and whether these are all."""
    folders: dict[Path, list[str]] = {}
    whole, looked = True, 0
    queue, seen = [top], set[str]()
    while queue:
        folder = queue.pop(0)
        real = os.path.realpath(folder)
        if real in seen:
            continue
        if looked == MOST_FOLDERS:
            return folders, False
        seen.add(real)
        looked += 1
        try:
            with os.scandir(folder) as entries:
                first = list(itertools.islice(entries, FIRST))
                more = next(entries, None) is not None
        except OSError:
            continue
        whole = whole and not more
        first = sorted((e for e in first if not is_junk(e.name)), key=lambda e: e.name)
        inner = [Path(e.path) for e in first if is_dir(e)]
        whole = whole and len(inner) <= FEW_FOLDERS
        queue += inner[:FEW_FOLDERS]
        names = [e.name for e in first if is_picture(e.name) and not is_dir(e)]
        if names:
            folders[folder] = names
    return folders, whole


def _layout(leaves: Sequence[Leaf], chosen: Candidate, masks_of_any: set[Path]) -> Layout:
    by_folder = {leaf.folder: leaf for leaf in leaves}
    roots = {_root(by_folder[p.parent]) for p in chosen.pairs}
    splits = {by_folder[p.parent].split_role for p in chosen.pairs}
    parts: dict[str, Pairs] = {}
    shown: dict[str, str] = {}
    left: list[str] = []

    def part(leaf: Leaf, split: str = "") -> Pairs:
        role, name = (leaf.split_role, leaf.split) if leaf.split or not split else (split, split)
        name = shown.setdefault(role, name or WHOLE)
        return parts.setdefault(role, Pairs(name, [], [], []))

    taken = {mask for masks in chosen.pairs.values() for mask in masks}
    paired = {p.parent for p in chosen.pairs}
    for leaf in leaves:
        if leaf.folder in chosen.leaves and leaf.folder not in paired:
            continue  # masks
        files = [leaf.folder / name for name in leaf.names]
        bare: list[Path] = []
        for picture in files:
            masks = chosen.pairs.get(picture)
            if masks:
                mask_leaf = by_folder[masks[0].parent]
                own = part(leaf, mask_leaf.split)
                own.files.append((picture, masks[0]))
                if len(masks) > 1:
                    own.more[picture] = masks[1:]
            elif picture not in masks_of_any:
                bare.append(picture)
        if leaf.folder in paired and not chosen.form:  # masks in the folder of the pictures
            spare = [p for p in bare if is_mask_name(p.name)]
            part(leaf).without_picture.extend(spare)
            bare = [p for p in bare if p not in spare]
        if not bare:
            continue
        alone = leaf.split and leaf.split_role not in splits
        if (
            leaf.folder in paired
            or _root(leaf) in roots
            or (alone and (leaf.role == "images" or not leaf.key))
        ):
            part(leaf).without_mask.extend(bare)
        elif leaf.role != "masks":
            left.append("/".join(leaf.parts) or ".")
    for folder, leaf in chosen.leaves.items():
        if folder in paired:
            continue
        spare = [folder / name for name in leaf.names if folder / name not in taken]
        if spare:
            home = leaf.split_role if leaf.split_role in parts else next(iter(parts))
            parts[home].without_picture.extend(spare)
    ordered = sorted(parts.values(), key=lambda one: one.name)
    return Layout(ordered, left, [*chosen.leaves])


def _root(leaf: Leaf) -> tuple[str, ...]:
    """The folder that says that pictures are in it, of a split: those below it belong together."""
    if leaf.role != "images":
        return leaf.parts
    return tuple(part for part in leaf.parts[: leaf.at + 1] if part != leaf.split)


def find_places(top: Path, named: tuple[str, ...] = ()) -> list[Place]:
    """The folders of each split of a set; empty if it is not a set of pictures and masks.

    Raises: XferError if several folders may hold the masks.
    """
    layout = find_layout(top, named)
    places: list[Place] = []
    for part in layout.parts if layout else []:
        pictures = [p for p, _ in part.files] or part.without_mask
        images = _common(pictures)
        masks = _common([m for _, m in part.files]) if part.files else None
        places.append(Place(part.name, images, masks))
    return places


def _common(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([f.parent for f in files]))


def pair(place: Place) -> Pairs:
    """Pair the pictures of a split with their masks. Raises DataError if several masks fit one."""
    if place.masks is None:
        return Pairs(place.name, [], find_pictures(place.images), [])
    files: list[tuple[Path, Path]] = []
    own: dict[str, dict[str, Path]] = defaultdict(dict)
    masks = find_pictures(place.masks)
    for mask in masks:
        own[mask.parent.relative_to(place.masks).as_posix()][mask.stem] = mask
    without: list[Path] = []
    for picture in find_pictures(place.images):
        folder = picture.parent.relative_to(place.images).as_posix()
        mate = own[folder].get(picture.stem)
        if mate is None:
            without.append(picture)
        else:
            files.append((picture, mate))
    taken = {mask for _, mask in files}
    return Pairs(place.name, files, without, [m for m in masks if m not in taken])


def first_pair(top: Path) -> tuple[Path, Path] | None:
    """A picture of a set and its mask; None if a folder is not a set of pictures and masks. If it
    is a question which folder holds the masks, the folders of one choice: loading asks it."""
    leaves = _leaves(top, ())
    found = candidates(leaves) if leaves else []
    try:
        chosen = choose(found, "")
    except XferError:
        picture, masks = next(iter(found[0].pairs.items()))
        return picture.parent, masks[0].parent
    if chosen is None:
        return None
    picture, masks = next(iter(chosen.pairs.items()))
    return picture, masks[0]


def near_miss(top: Path) -> str | None:
    """What is wrong in a folder that looks like a set of pictures and masks but has no pair of
    them; None if it looks like something else."""
    for place in (top, *subfolders(top)):
        folders = subfolders(place)
        masks = [f for f in folders if mask_rank(f.name) is not None]
        images = [f for f in folders if f not in masks and is_images(f.name) and has_picture(f)]
        if not masks or not images:
            continue
        full = next((f for f in masks if has_picture(f)), None)
        if full is None:
            masks = [f for f in masks if SURE & {*words(f.name), "".join(words(f.name))}]
            if not masks:
                continue
            others = sorted({Path(e.name).suffix for f in masks for e in listing(f)} - {""})
            content = f", but {', '.join(others[:3])} files" if others else ""
            return f"{masks[0].name}/ next to {images[0].name}/ holds no pictures{content}"
        pair = [find_pictures(f)[0].relative_to(place).as_posix() for f in (images[0], full)]
        return f"no mask has the name of a picture ({', '.join(pair)})"
    return None
