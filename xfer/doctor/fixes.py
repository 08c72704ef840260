"""Changes that could be made to data, one line each: proposed, never made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xfer.data.sources.changes import DROP, LABEL, Change
from xfer.doctor.copies import Groups
from xfer.doctor.pictures import PLAIN, Looks, labels_of
from xfer.doctor.suspects import Suspect
from xfer.types import Source


def proposals(
    looks: Looks,
    splits: Mapping[str, Source],
    classes: Sequence[str],
    exact: Groups,
    near: Groups,
    doubted: Sequence[Suspect],
) -> list[Change]:
    """What could be changed: at most one change per picture.

    Pictures that can't be used and blank ones are dropped. Of copies with different labels all are
    dropped, since one of the labels is wrong and nobody knows which. Of copies (and near copies)
    across splits those in training are dropped, so that scores stay comparable; of equal pictures
    within a split all but the first. A doubted label becomes the class that the probe prefers.
    Nothing is proposed for a split of which nothing would be left.
    """
    changes: dict[int, Change] = {}
    labels = labels_of(looks, splits)

    def drop(k: int, why: str) -> None:
        place = looks.places[k]
        changes.setdefault(k, Change(place.role, place.id, DROP, "", why))

    for k, why in looks.bad.items():
        drop(k, f"can't be used: {why}")
    for k, good in enumerate(looks.good.tolist()):
        if good and looks.spread[k] < PLAIN:
            drop(k, "blank")
    last = list(splits)
    for groups, same in ((exact, "the same picture as"), (near, "a near copy of")):
        for group in groups:
            keep = max(group, key=lambda k: (last.index(looks.places[k].role), -k))
            if len({labels[k] for k in group} - {None}) > 1:
                for k in group:
                    other = keep if k != keep else next(j for j in group if j != k)
                    if same.startswith("the same"):
                        drop(k, f"{same} {looks.id(other)}, which has another label")
                continue
            for k in group:
                across = looks.places[k].role != looks.places[keep].role
                if k != keep and (across or same.startswith("the same")):
                    drop(k, f"{same} {looks.id(keep)}")
    for s in doubted:
        place = looks.places[s.index]
        why = f"a probe on frozen features says {classes[s.likely]} ({s.other:.2f})"
        changes.setdefault(
            s.index, Change(place.role, place.id, LABEL, classes[s.likely], why)
        )  # fmt: skip
    for role in splits:  # changes that leave nothing of a split can't be made
        own = [k for k, place in enumerate(looks.places) if place.role == role]
        if all(k in changes and changes[k].change == DROP for k in own):
            for k in own:
                del changes[k]
    return [changes[k] for k in sorted(changes)]
