"""What a folder of a set holds, by the words in its name: pictures, masks, a split, or none of it.

JPEGImages          pictures
train_labels        masks of train
Task1_Training_GroundTruth   masks of Training
images_png          pictures; masks_png beside it has the same key
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xfer.data.sources.split_names import is_trainval, role_of, role_word

Role = Literal["images", "masks", ""]

IMAGES = frozenset(
    ("image", "images", "img", "imgs", "jpegimages", "picture", "pictures", "pics", "photo",
     "photos", "input", "inputs", "rgb", "frames", "original", "originals", "jpegs", "sat",
     "imagery")
)  # fmt: skip
MASKS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "annot", "annots", "gt", "gts",
    "groundtruth", "truth", "segmentation", "segmentations", "seg", "semantic", "targets", "target",
    "labelids", "lbl", "ann", "manual", "trimaps", "trimap", "anno", "annos", "lab", "labs", "lbls",
    "segs",
)  # fmt: skip
# words in names of folders and files with other forms of the masks: as colours, or by object
OTHERS = frozenset(
    ("color", "colour", "colors", "colours", "colored", "coloured", "visualization",
     "visualisation", "vis", "viz", "human", "overlay", "overlays", "preview", "previews", "object",
     "objects", "colormap", "colormaps", "colourmaps", "rgb", "instance", "instances",
     "instanceids", "json", "xml", "txt")
)  # fmt: skip
# names of folders that can't hold boxes
SURE = frozenset(
    ("mask", "masks", "gt", "gts", "groundtruth", "seg", "segmentation", "semantic", "manual")
)
# short forms of splits: they count where train and test both have one
SHORT = {"tr": "train", "va": "val", "te": "test", "ts": "test"}
_FORMATS = frozenset(("png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif", "ground"))


def words(name: str) -> list[str]:
    """The words in a folder's name: JPEGImages has jpeg, images; train_labels has train, labels."""
    return [w.casefold() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def mask_rank(name: str) -> int | None:
    """How likely a folder with this name holds the masks, 0 is likeliest; None: it does not."""
    own = words(name)
    if role_of(name):
        return None
    ranks = [MASKS.index(w) for w in (*own, "".join(own)) if w in MASKS]
    if glued := _glued(own):
        ranks.append(MASKS.index(glued[1]))
    if not ranks:
        return None
    return min(ranks) + (100 if OTHERS & set(own) else 0)


def _glued(own: Sequence[str]) -> tuple[str, str] | None:
    """The split and the mask word that are one word: trainannot."""
    for word in own:
        for ending in MASKS:
            start = word.removesuffix(ending)
            if start != word and role_of(start):
                return start, ending
    return None


def is_images(name: str) -> bool:
    """Whether a folder's name says that it holds pictures."""
    own = words(name)
    return bool(IMAGES & {*own, "".join(own)}) and not role_of(name)


@dataclass(frozen=True)
class Leaf:
    """A folder that holds pictures, and what the names on its path say.

    folder, parts | the folder, and its names below the top
    names         | the pictures in it
    role          | images, masks, or "": nothing
    at            | index in `parts` of the name that says so; of a folder without a role the last
    split         | the name of its split as it is written; "": none
    key           | what is left of the names: those of a picture's and its mask's folder are alike
    """

    folder: Path
    parts: tuple[str, ...]
    names: tuple[str, ...]
    role: Role
    at: int
    split: str
    key: tuple[str, ...]

    @property
    def split_role(self) -> str:
        """train, val, test, or the split's own name."""
        return split_role(self.split)

    @property
    def form(self) -> str:
        """The words of the folder that holds the masks, without its split: the same in all."""
        own = _plain(self.parts[self.at], self.parts[self.at - 1] if self.at else "")
        kept = [w for w in words(own) if not role_of(w) and w != self.split.casefold()]
        if glued := _glued(kept):
            kept = [glued[1]]
        return " ".join(w.removesuffix("s") for w in kept or words(own))

    @property
    def outer(self) -> int:
        """Index in `parts` of the first name that says what is in the folder."""
        for k, part in enumerate(self.parts if self.role else ()):
            own = _plain(part, self.parts[k - 1] if k else "")
            if is_images(own) if self.role == "images" else mask_rank(own) is not None:
                return k
        return self.at

    @property
    def other(self) -> bool:
        """Whether the names speak of another form of the masks: as colours, or by object."""
        return any(OTHERS & set(words(part)) for part in self.parts[self.at :])


def describe(
    top: Path, folders: Mapping[Path, Sequence[str]], named: tuple[str, ...] = ()
) -> list[Leaf]:
    """What each folder below `top` holds, given the names of its pictures.

    A name that is a split's (train, Validation) makes a split, as do those that the user named; if
    there is none, a word in a name does (Task1_Training_Input). Such names count only if one of
    them is train, or if every folder has one, since a class may be called `test`.
    """
    parts = {folder: folder.relative_to(top).parts for folder in folders}
    whole = {
        f: next((p for p in own if role_of(p) or is_trainval(p) or p in named), "")
        for f, own in parts.items()
    }
    partly = {f: next((w for p in own if (w := _split_word(p))), "") for f, own in parts.items()}
    partly = {f: whole[f] or partly[f] for f in parts}  # train/ beside train_labels/
    short = {f: next((w for p in own if (w := _short_word(p))), "") for f, own in parts.items()}
    if not {"train", "test"} <= {SHORT.get(word.casefold()) for word in short.values()}:
        short = {}
    found = [s for s in (partly if _splits(whole, named) else whole, partly, short)
             if _splits(s, named)]  # fmt: skip
    split_of = found[0] if found else dict[Path, str]()
    return [_leaf(f, parts[f], names, split_of.get(f, "")) for f, names in folders.items()]


def _splits(found: Mapping[Path, str], named: tuple[str, ...]) -> bool:
    names = {name for name in found.values() if name}
    roles = {split_role(name) for name in names}
    learnt = "train" in roles or any(map(is_trainval, names))
    return bool(names) and (learnt or all(found.values()) or bool(names & {*named}))


def _split_word(name: str) -> str:
    """The word in a name that names a split: Training in Task1_Training_Input."""
    inside = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)  # TrainDataset
    own = [word for word in inside if role_of(word)]
    glued = _glued(words(name))
    return role_word(name) or (own[0] if len(own) == 1 else "") or (glued[0] if glued else "")


def _short_word(name: str) -> str:
    """The short form of a split in a name: Tr in imagesTr, TE in DUTS-TE."""
    inside = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return next((word for word in inside if word.casefold() in SHORT), "")


def split_role(split: str) -> str:
    """train, val, test, or the split's own name; "" for none."""
    return role_of(split) or SHORT.get(split.casefold(), split)


def _leaf(folder: Path, parts: tuple[str, ...], names: Sequence[str], split: str) -> Leaf:
    role: Role = ""
    at = max(0, len(parts) - 1)
    for k in range(len(parts) - 1, -1, -1):
        own = _plain(parts[k], parts[k - 1] if k else "")
        if mask_rank(own) is not None:
            role, at = "masks", k
        elif is_images(own):
            role, at = "images", k
        if role:
            break
    key: list[str] = []
    for k, part in enumerate(parts):
        own = _plain(part, parts[k - 1] if k else "")
        if own == split:
            continue
        kept = [w for w in words(own) if w != split.casefold()]
        if split and (glued := _glued(kept)) and role_of(glued[0]) == role_of(split):
            kept = [w for w in kept if w != "".join(glued)]
        speaks = mask_rank(own) is not None if role == "masks" else is_images(own)
        if role and (k == at or speaks):
            gone = IMAGES if role == "images" else frozenset(MASKS)
            kept = [] if "".join(kept) in gone else [w for w in kept if w not in gone | _FORMATS]
            if kept:
                key.append(" ".join(kept))
        elif kept or not words(own):
            # names are compared as they are written, where nothing is taken out of them
            key.append(" ".join(kept) if len(kept) < len(words(own)) else own.casefold())
    return Leaf(folder, parts, tuple(names), role, at, split, tuple(key))


def _plain(name: str, above: str) -> str:
    """A name without that of the folder above it: IMD002_lesion in IMD002."""
    rest = name.removeprefix(above).lstrip("-_. ") if above else name
    return rest if rest and rest != name else name
