"""Pair the pictures and masks of folders: which folder or ending of names holds the masks.

Every way that pairs is a `Candidate`: the folder of the masks with what their names add. One that
is another form of the masks (x_color.png, SegmentationObject/) is taken only if there is no other.
If two fit the same pictures, as DRIVE's 1st_manual/ and mask/ do, data.label names the truth.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import LOSSY_ENDINGS, read_mask_file
from xfer.data.images.walk import EXTENSIONS, nfc
from xfer.data.readers.masks.folder_words import IMAGES, MASKS, OTHERS, Leaf, words
from xfer.data.readers.masks.stems import SAME, Edit, Form, match
from xfer.data.sources.mask_codes import colour_codes

MASK_WORD = (
    "masks?|labels?|label_?ids|label_?train_?ids|l|gt|ground_?truth|seg(?:mentation)?|annot(?:ation)?"
    "|ann|anno|target|lbl|semantic"
)
IMAGE_WORD = "images?|img|rgb|sat|photo|picture|input"
FEW_VALUES = 48  # a mask has no more
SPARSE = 37  # of so many pixels one is looked at first
SIDE_BY_SIDE = 400  # folders that are compared with each other, where their names are not alike
OWN_FOLDER: Edit = ("*", "*", "", "")


def stem(name: str) -> str:
    """A file's name without its extension; for x.jpg.png, without both."""
    bare = Path(name).stem
    return nfc(Path(bare).stem if Path(bare).suffix.casefold() in EXTENSIONS else bare)


def stripped(bare: str, word: str) -> str:
    """A stem without the words at its ends; unchanged if nothing else is left."""
    for _ in range(2):
        shorter = re.sub(rf"(?i)[-_. ](?:{word})$", "", bare) or bare
        bare = re.sub(rf"(?i)^(?:{word})[-_. ]", "", shorter) or shorter
    return bare


def is_mask_name(name: str) -> bool:
    """Whether a file's name has a word for masks at either end: x_mask.png, gt_x.png."""
    bare = re.sub(r"[-_. ]?\(?\d{1,4}\)?$", "", stem(name)) or stem(name)
    return any(stripped(text, MASK_WORD) != text for text in (stem(name), bare))


def _is_word(name: str, known: Sequence[str] | frozenset[str]) -> bool:
    return stem(name).casefold() in known


@dataclass
class Candidate:
    """One way to find the masks.

    form  | words of the masks' folder; "": they are in the pictures' own folders
    inner | what the masks' folders have in their paths and the pictures' do not
    edit  | what the masks' names add, see `stems`
    shown | the folder or ending, as the user may name it
    other | whether it is another form of the masks
    pairs | picture -> its masks, in order
    """

    form: str
    inner: tuple[str, ...]
    edit: Edit
    shown: str
    other: bool
    pairs: dict[Path, list[Path]] = field(default_factory=dict[Path, list[Path]])
    leaves: dict[Path, Leaf] = field(default_factory=dict[Path, Leaf])

    @property
    def folder(self) -> tuple[str, tuple[str, ...]]:
        return self.form, self.inner

    def names(self) -> set[str]:
        """What data.label may call it."""
        own = {self.shown.casefold(), self.form}
        if self.form:
            inner = "/".join(("", *self.inner)) if self.inner else ""
            own |= {leaf.parts[leaf.at].casefold() + inner for leaf in self.leaves.values()}
            own |= {leaf.parts[leaf.at].casefold() for leaf in self.leaves.values()}
            own |= {"/".join(leaf.parts).casefold() for leaf in self.leaves.values()}
            own |= {leaf.parts[-1].casefold() for leaf in self.leaves.values() if self.inner}
        if self.edit not in (SAME, OWN_FOLDER):
            ending = Form(self.edit).ending
            own |= {ending.casefold(), self.edit[1].casefold(), self.edit[0].casefold()}
        return own - {""}


def candidates(leaves: Sequence[Leaf]) -> list[Candidate]:
    """Every way to pair the pictures of some folders with masks, the fullest first."""
    found: dict[tuple[str, tuple[str, ...], Edit], Candidate] = {}
    facing = _Facing([leaf for leaf in leaves if leaf.role == "masks"])
    others = [leaf for leaf in leaves if leaf.role != "masks"]
    taken: set[Path] = set()
    # a folder beside one of pictures, such as depth/ beside images/, holds no pictures of its masks
    for images in sorted(others, key=lambda leaf: leaf.role != "images"):
        for form, inner, group in facing.of(images):
            folders = {leaf.folder for leaf in group}
            if images.role != "images" and images.key != group[0].key and folders & taken:
                continue
            if _add(found, images, group, form, inner) and images.role == "images":
                taken |= folders
    _without_words(found, others)
    paired = {picture.parent for c in found.values() for picture in c.pairs}
    for leaf in others if found else leaves:
        if leaf.folder not in paired:
            _mixed(found, leaf)
    own = [c for c in found.values() if c.edit != OWN_FOLDER or len(c.pairs) > 1]
    return sorted(own, key=lambda c: (c.other, -len(c.pairs)))


class _Facing:
    """Finds the folders that may hold the masks of a folder of pictures."""

    def __init__(self, masks: Sequence[Leaf]) -> None:
        self.by_form: dict[str, list[Leaf]] = defaultdict(list)
        self.by_key: dict[tuple[str, tuple[str, ...]], list[Leaf]] = defaultdict(list)
        for leaf in masks:
            form = leaf.form
            self.by_form[form].append(leaf)
            self.by_key[form, leaf.key].append(leaf)

    def of(self, images: Leaf) -> list[tuple[str, tuple[str, ...], list[Leaf]]]:
        """(form, what their paths have more, folders), by form: those whose paths have the same
        key, else those that have a part of it, else those in the same folder."""
        groups: list[tuple[str, tuple[str, ...], list[Leaf]]] = []
        for form, own in self.by_form.items():
            same = _of_split(images, self.by_key.get((form, images.key), ()))
            if same:
                groups.append((form, (), same))
                continue
            if len(own) > SIDE_BY_SIDE:
                continue
            own = _of_split(images, own)
            near = [leaf for leaf in own if _within(leaf.key, images.key)]
            near = near or [leaf for leaf in own if _place(leaf) == _place(images)]
            inner: dict[tuple[str, ...], list[Leaf]] = defaultdict(list)
            for leaf in near:
                inner[tuple(k for k in leaf.key if k not in images.key)].append(leaf)
            if len(inner) == 1:
                inner = {(): near}
            groups += [(form, key, group) for key, group in inner.items()]
        return groups


def _of_split(images: Leaf, masks: Sequence[Leaf]) -> list[Leaf]:
    """The folders of masks that are not of another split."""
    if not images.split:
        return list(masks)
    return [leaf for leaf in masks if not leaf.split or leaf.split_role == images.split_role]


def _within(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether a key is part of another, in order."""
    short, long = sorted((one, other), key=len)
    rest = iter(long)
    return all(part in rest for part in short)


def _place(leaf: Leaf) -> tuple[str, ...]:
    """The folder in which the folder of pictures or masks lies, without its split."""
    return tuple(part for part in leaf.parts[: leaf.outer] if part != leaf.split)


def _add(
    found: dict[tuple[str, tuple[str, ...], Edit], Candidate],
    images: Leaf,
    group: Sequence[Leaf],
    form: str,
    inner: tuple[str, ...],
) -> bool:
    """Pair the pictures of a folder with the masks of others, and add what pairs, if anything."""
    added = False
    pictures = _by_stem([(images, images.names)])
    masks = _by_stem([(leaf, leaf.names) for leaf in group])
    forms = match([*pictures], [*masks])
    alike = images.key == group[0].key
    own_folder = len(images.names) == 1 and alike and images.key and not forms
    if own_folder:  # a folder for each picture, whose masks have any names
        forms = [Form(OWN_FOLDER, dict.fromkeys(masks, next(iter(pictures))))]
    for one in forms:
        if images.role != "images" and not own_folder:
            if len(one.pairs) * 2 < min(len(pictures), len(masks)):
                continue
            first = next(iter(one.pairs))
            if not alike and not _opposed(pictures[one.pairs[first]][0], masks[first][0]):
                continue
        other = all(leaf.other for leaf in group) or bool(OTHERS & set(words(one.ending)))
        place = group[0].parts[group[0].at] if group[0].parts else ""
        shown = "/".join((place, *inner)) if one.edit in (SAME, OWN_FOLDER) else one.ending
        key = (form, inner, one.edit)
        target = found.setdefault(key, Candidate(form, inner, one.edit, shown, other))
        target.other = target.other and other
        for mask, picture in one.pairs.items():
            for path in pictures[picture]:
                target.pairs.setdefault(path, []).extend(masks[mask])
        target.leaves.update((leaf.folder, leaf) for leaf in group)
        added = True
    return added


def _by_stem(leaves: Sequence[tuple[Leaf, Sequence[str]]]) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = defaultdict(list)
    for leaf, names in leaves:
        for name in names:
            files[stem(name)].append(leaf.folder / name)
    return files


def _mixed(found: dict[tuple[str, tuple[str, ...], Edit], Candidate], leaf: Leaf) -> None:
    """Pair the pictures and masks that lie in one folder, and add what pairs."""
    # x.jpg and x_L.jpg in a class folder may be two eyes: masks are not JPEGs
    masks = [name for name in leaf.names if is_mask_name(name)
             and (not leaf.key or not name.casefold().endswith(LOSSY_ENDINGS))]  # fmt: skip
    taken = {*masks}
    pictures = [name for name in leaf.names if name not in taken]
    alone = [n for n in masks if _is_word(n, MASKS)] or [
        n for n in leaf.names if _is_word(n, MASKS)
    ]
    image = [n for n in leaf.names if _is_word(n, IMAGES)]
    if leaf.key and len(image) == 1 and not alone:
        alone = [n for n in leaf.names if n not in image and _is_mate(found, leaf, image[0], n)]
    if leaf.key and len(image) == 1 and alone:  # 0_json/img.png and label.png
        forms = [Form(("", stem(n), "", ""), {stem(n): stem(image[0])}) for n in alone]
        pictures, masks = image, [n for n in leaf.names if n not in image]
    elif masks and pictures:
        forms = match([stem(n) for n in pictures], [stem(n) for n in masks])
        paired = sum(len(one.pairs) for one in forms)
        if paired * 2 <= len(masks):
            return
    else:
        pictures, masks, forms = _mixed_by_names(leaf)
    by_picture = _by_stem([(leaf, pictures)])
    by_mask = _by_stem([(leaf, masks)])
    for one in forms:
        other = bool(OTHERS & set(words(one.ending)))
        key = ("", (), one.edit)
        target = found.setdefault(key, Candidate("", (), one.edit, one.ending, other))
        for mask, picture in one.pairs.items():
            for path in by_picture[picture]:
                target.pairs.setdefault(path, []).extend(by_mask[mask])
        target.leaves[leaf.folder] = leaf


def _is_mate(
    found: dict[tuple[str, tuple[str, ...], Edit], Candidate], leaf: Leaf, image: str, name: str
) -> bool:
    """Whether a file that no word calls a mask is the picture's mask, by what both hold; known from
    the folder of another picture."""
    known = ("", (), ("", stem(name), "", "")) in found
    return known or _opposed(leaf.folder / image, leaf.folder / name)


def _mixed_by_names(leaf: Leaf) -> tuple[list[str], list[str], list[Form]]:
    """Pictures and masks of a folder whose names have no word for masks: Image_01L.jpg,
    Image_01L_1stHO.png. Most pictures must have a mask, and the files must look so."""
    stems = {stem(name): name for name in leaf.names}
    longer = {n: None for n in stems if any(n[:k] in stems for k in range(len(n) - 1, 0, -1))}
    short = [n for n in stems if n not in longer]
    forms = [one for one in match(short, [*longer]) if len(one.pairs) > 1]
    covered = {picture for one in forms for picture in one.pairs.values()}
    if not forms or len(covered) * 5 < len(short) * 4:
        return [], [], []
    mask, picture = next(iter(forms[0].pairs.items()))
    if not _opposed(leaf.folder / stems[picture], leaf.folder / stems[mask]):
        return [], [], []
    return [stems[n] for n in short], [stems[n] for n in longer], forms


def _without_words(
    found: dict[tuple[str, tuple[str, ...], Edit], Candidate], leaves: Sequence[Leaf]
) -> None:
    """Pair sister folders whose names say nothing of masks, such as sat/ and map/, where one holds
    pictures and the other files of few values."""
    sisters: dict[tuple[tuple[str, ...], str], list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        if leaf.parts:
            sisters[_place(leaf), leaf.split_role].append(leaf)
    for group in sisters.values():
        if not 2 <= len(group) <= 4:
            continue
        for images in [leaf for leaf in group if leaf.role == "images"] or group:
            for masks in group:
                if images is masks or masks.role == "images" or not _alike(images, masks):
                    continue
                _add(found, images, [masks], masks.form, ())


def _alike(images: Leaf, masks: Leaf) -> bool:
    """Whether nearly all files of two folders pair, and look like pictures and masks."""
    own, theirs = [stem(n) for n in images.names], [stem(n) for n in masks.names]
    if Path(masks.names[0]).suffix.casefold() in LOSSY_ENDINGS:
        return False
    forms = match(own, theirs)
    if not forms or len(forms[0].pairs) * 10 < 9 * min(len(own), len(theirs)):
        return False
    mask, picture = next(iter(forms[0].pairs.items()))
    file = next(n for n in masks.names if stem(n) == mask)
    mate = next(n for n in images.names if stem(n) == picture)
    return _opposed(images.folder / mate, masks.folder / file)


def _opposed(picture: Path, mask: Path) -> bool:
    """Whether one file looks like a picture, the other like its mask: few values, and as large."""
    few = _few_values(mask)
    return few is not None and _few_values(picture) is None


def _few_values(path: Path) -> int | None:
    """The number of values or colours of a file without loss; None if they are many."""
    try:
        raw = read_mask_file(path)
    except DecodeError:
        return None
    coloured = raw.coloured and raw.values.dtype == np.uint8
    values = (colour_codes(np.asarray(raw.values, np.uint8)) if coloured else raw.values).ravel()
    if len(np.unique(values[::SPARSE])) > FEW_VALUES:
        return None
    count = len(np.unique(values))
    return count if count <= FEW_VALUES else None
