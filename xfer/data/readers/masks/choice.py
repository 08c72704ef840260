"""Which of several ways to pair pictures and masks is the truth: certain, or asked.

Several ways may fit the same pictures: two folders, as DRIVE's 1st_manual/ and mask/ (the field of
view), or two endings, as x_1stHO.png and x_2ndHO.png. data.label names the folder or the ending.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xfer.data.images.mask_file import LOSSY_ENDINGS
from xfer.data.readers.masks.pairing import OWN_FOLDER, Candidate, stem
from xfer.errors import DataError, XferError, nearest


def choose(found: Sequence[Candidate], label: str) -> Candidate | None:
    """The candidate that is the truth, with the masks of those that only complete it.

    Args: label: the user's choice, the name of a folder or an ending; "": the only one.

    Raises: XferError if several fit the same pictures, or none has the user's name; DataError if a
        picture has two masks that are not parts of one.
    """
    if label:
        word = label.casefold().strip("/")
        chosen = [c for c in found if word in c.names()] or _ending(found, word)
        if not chosen:
            raise XferError(
                f"data.label={label}: no masks are in such a folder, or end so",
                nearest(label, {_name(c, found) for c in found}),
            )
        return _joined(chosen)
    if not found:
        return None
    own = [c for c in found if not c.other] or list(found)
    best = own[0]
    rivals = [c for c in own[1:] if _rival(best, c)]
    if rivals:
        raise _question([best, *rivals])
    # masks of the same folders with other endings complete it; other folders are other masks
    apart = [c for c in own[1:] if c.folder != best.folder and not (c.pairs.keys() & best.pairs)]
    if apart:
        raise _question([best, *apart])
    return _joined([c for c in own if c.folder == best.folder])


def _rival(best: Candidate, other: Candidate) -> bool:
    """Whether two candidates both have masks for many of the same pictures."""
    both = len(best.pairs.keys() & other.pairs.keys())
    if best.folder == other.folder:
        return both * 2 > len(best.pairs) and both > 1
    return both * 2 >= min(len(best.pairs), len(other.pairs))


def _question(rivals: Sequence[Candidate]) -> XferError:
    """The question which of several folders or endings holds the masks."""
    places = [_where(c, rivals) for c in rivals]
    picture = next(iter(rivals[0].pairs))
    first = [f"{c.pairs[picture][0].parent.name}/{c.pairs[picture][0].name}"
             for c in rivals if picture in c.pairs]  # fmt: skip
    fits = f" (for {picture.name}: {' or '.join(first)})" if len(first) > 1 else ""
    return XferError(
        f"masks may be those of {' or of '.join(places)}{fits}: which are the truth?",
        " or ".join(f"data.label={shlex.quote(_name(c, rivals))}" for c in rivals),
    )


def _name(one: Candidate, rivals: Sequence[Candidate]) -> str:
    """What the user writes for a candidate: its folder, or its ending if others are there too."""
    alone = all(c is one or c.folder != one.folder for c in rivals)
    if not alone or not one.leaves or not one.form:
        return one.shown
    leaf = next(iter(one.leaves.values()))
    return leaf.parts[-1 if one.inner else leaf.at]


def _where(one: Candidate, rivals: Sequence[Candidate]) -> str:
    """A candidate in words: its folders, or its ending."""
    ended = [c for c in rivals if c.folder == one.folder]
    if len(ended) > 1 or not one.form:
        return f"names with {one.shown!r}"
    folders = sorted("/".join(leaf.parts) for leaf in one.leaves.values())
    more = f" and {len(folders) - 2} more folders" if len(folders) > 2 else ""
    return f"{', '.join(f'{f}/' for f in folders[:2])}{more}"


def _ending(found: Sequence[Candidate], word: str) -> list[Candidate]:
    """The candidates with only those masks whose names end or begin with a word."""
    kept: list[Candidate] = []
    for one in found:
        pairs = {
            picture: own for picture, masks in one.pairs.items()
            if (own := [m for m in masks if _has_end(m, word)])
        }  # fmt: skip
        if pairs:
            kept.append(replace(one, pairs=pairs))
    return kept


def _has_end(mask: Path, word: str) -> bool:
    edge, bare = re.escape(word), stem(mask.name).casefold()
    before = r"(?<!\d)" if word.isdigit() else r"(^|[-_. (]|(?=[-_. ]))"
    return bool(re.search(rf"{before}{edge}\)?$|^{edge}([-_. ]|$)", bare))


def _joined(parts: Sequence[Candidate]) -> Candidate:
    """Candidates as one. Raises DataError for a picture with masks that exclude each other."""
    first = parts[0]
    whole = replace(first, pairs=dict(first.pairs), leaves=dict(first.leaves))
    for part in parts[1:]:
        for picture, masks in part.pairs.items():
            if picture in whole.pairs:
                raise _either(picture, [*whole.pairs[picture], *masks])
            whole.pairs[picture] = masks
        whole.leaves.update(part.leaves)
    _check_pictures(whole)
    for picture, masks in whole.pairs.items():
        if len(masks) > 1:
            exact = [m for m in masks if m.suffix.casefold() not in LOSSY_ENDINGS] or masks
            if len({(m.parent, stem(m.name)) for m in exact}) < len(exact) or (
                whole.edit != OWN_FOLDER and len({m.parent for m in exact}) > 1
            ):
                raise _either(picture, exact)
            whole.pairs[picture] = exact
    return whole


def _check_pictures(whole: Candidate) -> None:
    """Raises XferError if a mask fits pictures in two folders: images/ and raw/ beside masks/."""
    folders: dict[Path, Path] = {}
    for picture, masks in whole.pairs.items():
        for mask in masks:
            first = folders.setdefault(mask, picture.parent)
            if first != picture.parent:
                raise XferError(
                    f"the masks fit pictures in {first} and in {picture.parent}: which are meant?",
                    " or ".join(
                        shlex.quote(f"data.images={f.name}") for f in (first, picture.parent)
                    ),
                )


def _either(picture: Path, masks: Sequence[Path]) -> DataError:
    names = [m.name for m in masks]
    if len({*names}) < len(names):
        names = [f"{m.parent.name}/{m.name}" for m in masks]
    return DataError(
        f"{picture}: its mask may be {' or '.join(sorted(names)[:4])}",
        "keep one mask per picture, or name the truth: data.label=FOLDER or data.label=ENDING",
    )
