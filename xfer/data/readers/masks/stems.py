"""Which mask belongs to which picture, by their names: the edit that pairs most of them is learnt.

    x.jpg           x.png            the same name
    x.jpg           x_mask.png       text before or behind it: _L, _P, _segmentation, mask_
    21_training.tif 21_manual1.gif   a word of the picture's name replaced
    x.png           x_mask_1.png     a number behind: a further mask of the same picture; x_mask2

Masks that are told apart by such an edit make one `Form`. Several forms may fit the same pictures,
as x_1stHO and x_2ndHO do: which one is the truth is for the caller to ask.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from xfer.data.sources.split_names import role_of

Edit = tuple[str, str, str, str]
SAME: Edit = ("", "", "", "")
_TOKEN = re.compile(r"[-_. ]")
_NUMBER = re.compile(r"[-_. ]?\(\d{1,4}\)$|[-_. ]\d{1,4}$")
_GLUED = re.compile(r"(?<=[^\W\d_])\d{1,2}$")
_LETTER = re.compile(r"[^\W\d_]")
MOST_TOKENS = 3  # words at an end of a name that may be replaced
FEW = 0.2  # of the masks of the commonest form: rarer edits are chance


@dataclass
class Form:
    """Masks whose names differ from their pictures' names in the same way.

    edit  | text before and behind the mask's name, then before and behind the picture's
    pairs | stem of a mask -> stem of its picture
    """

    edit: Edit
    pairs: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def ending(self) -> str:
        """The text that is added to the mask's name, without what separates it: mask, P, gt."""
        lead, trail = self.edit[:2]
        return (trail.strip("-_. ()") or lead.strip("-_. ()")) if self.edit != SAME else ""


def match(pictures: Sequence[str], masks: Sequence[str]) -> list[Form]:
    """The forms of the masks of some pictures, the commonest first.

    Args:
        pictures, masks: stems, see `stem`.

    Returns: each mask is in one form at most; several masks of a form may have the same picture.
    """
    known = dict.fromkeys(pictures)
    own = dict.fromkeys(masks)
    forms: dict[Edit, Form] = {}
    same = {name: name for name in own if name in known}
    if same:
        forms[SAME] = Form(SAME, same)
    rest = [name for name in own if name not in same]
    for votes in (_added, _replaced):
        if rest:
            rest = _take(votes(known, rest), rest, len(own), forms)
    numbered = [name for name in rest if _NUMBER.search(name)]
    if numbered:
        rest = _take_numbered(known, numbered, len(own), forms) + [
            name for name in rest if not _NUMBER.search(name)
        ]
    _join_glued(rest, forms)
    return sorted(forms.values(), key=lambda form: -len(form.pairs))


def _join_glued(rest: Sequence[str], forms: dict[Edit, Form]) -> None:
    """Make one form of x_mask1 and x_mask2, and add x_mask2 to the form of x_mask."""
    for edit in [edit for edit in forms if _GLUED.search(edit[1])]:
        base = (edit[0], _GLUED.sub("", edit[1]), *edit[2:])
        alike = [e for e in forms if e != edit and (e[0], _GLUED.sub("", e[1]), *e[2:]) == base]
        if alike:
            form = forms.pop(edit)
            forms.setdefault(base, Form(base)).pairs.update(form.pairs)
    for mask in rest:
        bare = _GLUED.sub("", mask)
        for form in forms.values() if bare != mask else ():
            if form.edit[1] and bare in form.pairs:
                form.pairs[mask] = form.pairs[bare]


def _take(
    votes: dict[Edit, dict[str, str]], rest: list[str], total: int, forms: dict[Edit, Form]
) -> list[str]:
    """Add the edits that pair the most masks to the forms; returns the masks that are left."""
    left = dict.fromkeys(rest)
    order = sorted(votes, key=lambda edit: (-len(votes[edit]), sum(map(len, edit))))
    for edit in order:
        pairs = {mask: picture for mask, picture in votes[edit].items() if mask in left}
        largest = max((len(form.pairs) for form in forms.values()), default=0)
        if not pairs or len(pairs) < FEW * max(largest, total / 4):
            continue
        form = forms.setdefault(edit, Form(edit))
        form.pairs.update(pairs)
        for mask in pairs:
            del left[mask]
    return list(left)


def _added(known: dict[str, None], masks: Sequence[str]) -> dict[Edit, dict[str, str]]:
    """Edits that only add text to the picture's name, with the masks that each pairs."""
    votes: dict[Edit, dict[str, str]] = defaultdict(dict)
    for mask in masks:
        for cut in range(len(mask) - 1, 0, -1):
            if mask[:cut] in known and _ends(mask[:cut], mask[cut:]) and not _number(mask[cut:]):
                votes["", mask[cut:], "", ""].setdefault(mask, mask[:cut])
            if mask[-cut:] in known and _ends(mask[-cut:][::-1], mask[:-cut][::-1]):
                votes[mask[:-cut], "", "", ""].setdefault(mask, mask[-cut:])
    return votes


def _ends(core: str, rest: str) -> bool:
    """Whether a name may end where the rest begins: 1|_P and 0007|L, not 1|2, 1|a or cat|s."""
    if not _LETTER.search(rest):
        return False
    if not (core[-1].isalnum() and rest[0].isalnum()):
        return True
    return core[-1].isdigit() and rest[0].isalpha() and (len(rest) > 1 or rest.isupper())


def _replaced(known: dict[str, None], masks: Sequence[str]) -> dict[Edit, dict[str, str]]:
    """Edits that replace words at the ends of the picture's name: 21_training, 21_manual1."""
    cores: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for picture in known:
        for core, lead, trail in _cut(picture):
            cores[core].append((picture, lead, trail))
    votes: dict[Edit, dict[str, str]] = defaultdict(dict)
    twice: set[tuple[Edit, str]] = set()
    for mask in masks:
        for core, lead, trail in _cut(mask):
            for picture, before, behind in cores.get(core, ()):
                edit = (lead, trail, before, behind)
                if _number(trail) or _other_split(edit):
                    continue
                if votes[edit].setdefault(mask, picture) != picture:
                    twice.add((edit, mask))
    for edit, mask in twice:
        votes[edit].pop(mask, None)
    return votes


def _cut(name: str) -> Iterator[tuple[str, str, str]]:
    """A name without words at its ends, and the text before and behind what is left."""
    places = [m.start() for m in _TOKEN.finditer(name)]
    for start in [0, *(p + 1 for p in places[:MOST_TOKENS])]:
        for end in [len(name), *places[::-1][:MOST_TOKENS]]:
            lead, core, trail = name[:start], name[start:end], name[end:]
            # a number at the end tells pictures apart: it is not replaced
            if core and all(not text or _LETTER.search(text) for text in (lead, trail)):
                yield core, lead, trail


def _number(text: str) -> bool:
    return bool(_NUMBER.search(text))


def _other_split(edit: Edit) -> bool:
    """Whether an edit makes train_1 the picture of test_1."""
    mask, picture = (
        {role_of(word) for word in re.findall("[A-Za-z]+", text)} - {None}
        for text in ("_".join(edit[:2]), "_".join(edit[2:]))
    )
    return bool(mask and picture and mask != picture)


def _take_numbered(
    known: dict[str, None], masks: Sequence[str], total: int, forms: dict[Edit, Form]
) -> list[str]:
    """Masks with a number behind: further ones of a form that is known, or a form of their own.
    Returns those that are left."""
    bare = {mask: _NUMBER.sub("", mask) for mask in masks}
    of_bare: dict[str, list[str]] = defaultdict(list)
    for mask, name in bare.items():
        of_bare[name].append(mask)
    # x_1 and x_2 are pictures: x_3 is none of x's masks
    series = {_NUMBER.sub("", picture) for picture in known if _NUMBER.search(picture)}
    left = set(masks)
    for form in list(forms.values()):
        known_masks = form.pairs.copy()
        for name, several in of_bare.items():
            picture = known_masks.get(name)
            if picture is None or (form.edit == SAME and picture in series):
                continue
            form.pairs.update(dict.fromkeys(several, picture))
            left.difference_update(several)
    rest = [name for name in of_bare if name not in series and left.intersection(of_bare[name])]
    own: dict[Edit, Form] = {}
    same = {name: name for name in rest if name in known}
    if same:
        own[SAME] = Form(SAME, same)
    others = [name for name in rest if name not in same]
    for votes in (_added, _replaced):
        if others:
            others = _take(votes(known, others), others, total, own)
    for edit, form in own.items():
        target = forms.setdefault(edit, Form(edit))
        for name, picture in form.pairs.items():
            more = [mask for mask in of_bare[name] if mask in left]
            target.pairs.update(dict.fromkeys(more, picture))
            left.difference_update(more)
    return [mask for mask in masks if mask in left]
