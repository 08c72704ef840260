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

from xfer.data.images.mask_file import LOSSY_ENDINGS
from xfer.data.images.walk import (
    find_pictures,
    is_dir,
    is_junk,
    is_picture,
)
from xfer.data.readers.masks.choice import choose
from xfer.data.readers.masks.folder_words import (
    Leaf,
    describe,
)
from xfer.data.readers.masks.pairing import (
    Candidate,
    candidates,
    is_mask_name,
    stem,
)
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.errors import XferError
from xfer.files import at_home

FIRST = 2000  # names of a folder that are enough to recognise what it holds
NAMES = 60  # that are enough to tell whether many are of masks
FEW_TWINS, TWINS = 4, 20  # sister folders without words, and names that are looked for in both
FEW_FOLDERS = 24  # of a folder that are looked into to recognise it
MOST_FOLDERS = 60


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


def find_layout(
    top: Path, named: tuple[str, ...] = (), label: str = "", images: str = ""
) -> Layout | None:
    """The splits of a set of pictures and masks; None if it is none.

    Args:
        named: names of splits; label: the folder or ending that holds the truth.
        images: the folder that holds the pictures: its name, or its path.

    Raises: XferError if several folders or endings may hold the masks; DataError if several masks
        fit one picture.
    """
    leaves, found = _look(top, named)
    if images:
        leaves = [leaf for leaf in leaves if leaf.role == "masks" or _is_in(leaf, images)]
        found = candidates(leaves)
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


def _is_in(leaf: Leaf, images: str) -> bool:
    """Whether a folder is the one that the user named, or lies in it."""
    place = at_home(images)
    if place.is_absolute():
        return leaf.folder.absolute().is_relative_to(place)
    return any(
        leaf.parts[k : k + len(place.parts)] == place.parts for k in range(len(leaf.parts))
    ) or leaf.folder.absolute().is_relative_to(place.absolute())


@dataclass(frozen=True)
class _Seen:
    """What was found in a folder, and when the folders below it were changed last."""

    key: tuple[str, tuple[str, ...]]
    changed: list[tuple[Path, int]]
    leaves: list[Leaf]
    found: list[Candidate]


# several formats ask about the same folder in turn: the last answer is kept while it holds
_kept: list[_Seen] = []


def _look(top: Path, named: tuple[str, ...]) -> tuple[list[Leaf], list[Candidate]]:
    """The folders that hold pictures, and every way to pair them with masks."""
    key = str(top.absolute()), named
    for seen in _kept:
        if seen.key == key and all(_changed(f) == at for f, at in seen.changed):
            return seen.leaves, seen.found
    folders: list[Path] = []
    leaves = _leaves(top, named, folders)
    changed = [(folder, _changed(folder)) for folder in folders]
    found = candidates(leaves) if leaves else []
    _kept[:] = [_Seen(key, changed, leaves, found)]
    return leaves, found


def _changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return -1


def _leaves(top: Path, named: tuple[str, ...], folders: list[Path]) -> list[Leaf]:
    """The folders that hold pictures; none if a first look at the names finds nothing of masks.

    Adds to `folders` those that were looked into.
    """
    if not top.is_dir():
        return []
    looked, whole = _glance(top, folders)
    if whole:
        return describe(top, looked, named)
    leaves = describe(top, looked, named)
    masks = any(leaf.role == "masks" for leaf in leaves)
    pictures = any(leaf.role != "masks" for leaf in leaves)
    mixed = any(_mostly_masks(leaf.names) for leaf in leaves)
    if not (mixed or (masks and pictures) or _twins(leaves)):
        return []
    names: dict[Path, list[str]] = defaultdict(list)
    for path in find_pictures(top):
        names[path.parent].append(path.name)
    known = {*folders}
    folders += [folder for folder in names if folder not in known]
    return describe(top, names, named)


def _mostly_masks(names: Sequence[str]) -> bool:
    some = names[:: max(1, len(names) // NAMES)]
    return sum(is_mask_name(name) for name in some) * 5 > len(some)


def _twins(leaves: Sequence[Leaf]) -> bool:
    """Whether a few large folders may pair though no word says so: one is of files without loss,
    and another has files of the same names."""
    for masks in leaves if 1 < len(leaves) <= FEW_TWINS else ():
        names = [n for n in masks.names[:TWINS] if not n.casefold().endswith(LOSSY_ENDINGS)]
        for images in leaves:
            if names and images is not masks:
                stems = {stem(name) for name in names}
                ends = {Path(name).suffix for name in images.names[:TWINS]}
                if any((images.folder / f"{s}{end}").exists() for s in stems for end in ends):
                    return True
    return False


def _glance(top: Path, visited: list[Path]) -> tuple[dict[Path, list[str]], bool]:
    """The names of the pictures in the first folders below `top`, and whether these are all."""
    folders: dict[Path, list[str]] = {}
    whole = True
    queue, seen = [top], set[str]()
    while queue:
        folder = queue.pop(0)
        real = os.path.realpath(folder)
        if real in seen:
            continue
        if len(visited) == MOST_FOLDERS:
            return folders, False
        seen.add(real)
        visited.append(folder)
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
        name = shown.setdefault(role, (name if role_of(name) else role) or WHOLE)
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
    """The folders of each split of a set; empty if it is not a set of pictures and masks. If it is
    a question which folder holds the masks, those of one choice: loading asks it."""
    leaves, found = _look(top, named)
    chosen = _some(found)
    places: list[Place] = []
    for part in _layout(leaves, chosen, set()).parts if chosen else []:
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
    _, found = _look(top, ())
    chosen = _some(found)
    if chosen is None:
        return None
    picture, masks = next(iter(chosen.pairs.items()))
    asked = _choice(found) is None
    return (picture.parent, masks[0].parent) if asked else (picture, masks[0])


def _choice(found: Sequence[Candidate]) -> Candidate | None:
    """What is chosen without a question; None if nothing is."""
    try:
        return choose(found, "")
    except XferError:
        return None


def _some(found: Sequence[Candidate]) -> Candidate | None:
    """What is chosen, or the fullest candidate if that is a question."""
    return _choice(found) or (found[0] if found else None)
