"""Opening data: a spec becomes splits with one set of classes, looked at before anything trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.inspect.box_stats import collect, has_boxes, per_class, summary
from xfer.data.inspect.pixel_counts import occurring, pixel_counts
from xfer.data.inspect.verify import bad_pictures, find_bad, looked_at
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.sources.base import Bundle, Source, subset
from xfer.data.sources.class_names import listed, match_classes, used_classes
from xfer.data.sources.split import VAL_SHARE, stratified
from xfer.data.sources.split_names import role_of
from xfer.data.spec import open_spec
from xfer.errors import DataError, XferError, nearest

NONE = "none"


def open_data(
    spec: Any,
    *,
    train: str = "",
    val: str = "",
    test: str = "",
    seed: int = 0,
    limit: int = 0,
    skip_bad: bool = False,
    kind: str | Sequence[str] = (),
    images: str = "",
    ignore: str = "",
    check: bool = True,
    thorough: bool = False,
    classes: Sequence[str] | None = None,
    cut: bool = True,
) -> Bundle:
    """Opens data and makes it ready to train on or to score.

    The split called train, training trains; val, valid, validation chooses the best step; test,
    testing is scored once. Without a val split a fifth of train is cut off, seeded and by class.
    A split that was named for one role is not taken for another unless that is named as well.
    The classes are those of train; the other splits' are matched by name.

    Args:
        spec: NAME, PATH, FORMAT:PATH, package.module:Class, a Source, a Bundle, or a mapping of
            split names to Sources.
        train, val, test: names of splits; "none": there is none; empty: found.
        seed: of the cut and of `limit`.
        limit: the first N of a seeded shuffle of each split, after splitting; 0: all.
        skip_bad: leave out what can't be decoded, and boxes that are none, and record them in
            `skipped`, instead of raising.
        kind: what the data are wanted as, one kind or several (a task's `kinds`): decides where
            they can be read in several ways; empty: as they are read by default.
        images: the folder that the pictures of an annotation file lie in; empty: found.
        ignore: masks: classes whose pixels are left out, names or the masks' values, parted by
            commas; none: no class; empty: those whose names say so (void, unlabelled, ignore).
        check: decode the pictures of the splits once, now; of a split of more than 100,000 a
            sample, unless `thorough`.
        thorough: decode all of them, however many.
        classes: those of a trained model. Labels become indices into them, and one class alone is
            enough; nothing is cut from train.
        cut: whether the data are to be trained on: a val split is cut from train where there is
            none, and one class is not enough.

    Raises: DataError for data that are missing or can't be used, XferError for a wrong spec or
        split name.
    """
    names = {"train": train, "val": val, "test": test}
    given = tuple(name for name in names.values() if name and name != NONE)
    kinds = (kind,) if isinstance(kind, str) and kind else tuple(kind)
    opened = open_spec(spec, ReadOptions(given, skip_bad, images=images, ignore=ignore), kinds)
    title, reading = opened.name, opened.reading
    notes = list(reading.notes)
    splits = _choose(title, reading, names, notes)
    splits = {role: _labelled(title, role, source, notes) for role, source in splits.items()}
    found = next(iter(splits.values())).info.kind
    own = classes is None
    first = next(iter(splits))
    wanted = tuple(classes) if classes is not None else used_classes(splits[first])
    if found != "images":
        for role, source in splits.items():
            theirs = first if own else "the model"
            splits[role], lines = match_classes(source, wanted, f"{title}, {role}", theirs)
            notes += lines
    if own and found == "detect" and not has_boxes(splits[first]):
        raise DataError(f"{title}: no boxes in {first}")
    if own and cut and found == "classify" and len(wanted) < 2:
        raise DataError(
            f"{title}: one class only ({', '.join(wanted)})", "there must be two to tell apart"
        )
    if cut and own and "train" in splits and "val" not in splits and val != NONE:
        _cut_val(title, splits, seed, notes)
    splits = {role: _called(source, role) for role, source in splits.items()}
    if limit:
        splits = {role: limited(source, limit, seed) for role, source in splits.items()}
    skipped = list(reading.skipped)
    if check:
        splits, bad = _checked(title, splits, skip_bad, thorough)
        skipped += bad
    if check and not thorough:
        notes += _not_looked_at(splits)
    if check and own and found == "segment":
        notes += _absent(title, first, splits[first], cut)
    if skipped:
        notes.append(f"left out: {len(skipped)} that can't be used")
    return Bundle(title, opened.format, found, wanted, splits, tuple(notes), tuple(skipped))


def _choose(
    title: str, reading: Reading, names: dict[str, str], notes: list[str]
) -> dict[str, Source]:
    """Role -> source: those that the user named, then those that are called like the role."""
    parts = reading.parts
    chosen: dict[str, str] = {}
    for role, name in names.items():
        if name and name != NONE:
            chosen[role] = find_part(title, parts, name)
    for role, name in names.items():
        if name:
            continue
        called = [p for p in parts if role_of(p) == role and p not in chosen.values()]
        if len(called) > 1:
            raise XferError(
                f"{title} has {' and '.join(called)}", f"say which is meant: --{role} NAME"
            )
        if role == "train" and not called:  # a name of VOC's: train and val together
            called = [p for p in parts if p == "trainval" and p not in chosen.values()]
        if called:
            chosen[role] = called[0]
    if len(parts) == 1 and not chosen and names["train"] != NONE:
        chosen["train"] = next(iter(parts))
    splits = {role: parts[chosen[role]] for role in ("train", "val", "test") if role in chosen}
    labelled = "train" in splits and splits["train"].info.kind != "images"
    for role in [r for r in ("val", "test") if r in splits and labelled]:
        if splits[role].info.kind == "images":
            if names[role]:
                raise DataError(f"{title}: the pictures of {chosen[role]} have no labels")
            notes.append(f"{chosen[role]}: no labels, so it is not scored")
            del splits[role]
    kinds = {role: source.info.kind for role, source in splits.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{role} {kind}" for role, kind in kinds.items())
        raise DataError(f"{title}: the splits hold different kinds of labels ({told})")
    if not splits:
        raise XferError(f"{title}: no split is left", f"it has {', '.join(parts)}")
    twice = [r for r in splits if list(chosen.values()).count(chosen[r]) > 1]
    if twice:
        notes.append(f"warning: {' and '.join(twice)} are the same pictures")
    return splits


def _labelled(title: str, role: str, source: Source, notes: list[str]) -> Source:
    """A split of one label a picture without those that have none."""
    if source.info.kind != "classify" or not (without := source.labels() < 0).any():
        return source
    if without.all():
        raise DataError(f"{title}: no picture of {role} has a label")
    notes.append(f"{role}: {int(without.sum())} pictures without a label are left out")
    return subset(source, np.flatnonzero(~without))


def find_part(title: str, parts: dict[str, Source], name: str) -> str:
    """Which part is meant by the name that the user gave: its own, or one for the same role."""
    if name in parts:
        return name
    same = [p for p in parts if role_of(name) and role_of(p) == role_of(name)]
    if len(same) != 1:
        raise XferError(f"{title} has no split {name!r}", nearest(name, parts))
    return same[0]


def _cut_val(title: str, splits: dict[str, Source], seed: int, notes: list[str]) -> None:
    whole = splits["train"]
    train, val = stratified(whole.labels(), whole.ids, seed=seed)
    if len(val) == 0:
        raise DataError(f"{title}: too few pictures to cut a val split from", "--val none")
    splits["train"], splits["val"] = subset(whole, train, "train"), subset(whole, val, "val")
    # the roles' order is part of what is shown and stored
    for role in ("train", "val", "test"):
        if role in splits:
            splits[role] = splits.pop(role)
    how = "cut by class" if (whole.labels() >= 0).any() else "cut"
    notes.append(
        f"val: {len(val)} of {len(whole)} training pictures, {how} with seed {seed} "
        f"({VAL_SHARE:.0%})"
    )


def check_scored(bundle: Bundle) -> None:
    """Raises DataError where a split is to be scored, after training, that has no box to score."""
    for role in ("val", "test") if bundle.kind == "detect" else ():
        if role in bundle.splits and not has_boxes(bundle.splits[role], scored=True):
            raise DataError(
                f"{bundle.name}: no box in {role} that counts: nothing could be scored",
                f"--{role} none, or another --{role}",
            )


def _absent(title: str, role: str, source: Source, learnt: bool) -> list[str]:
    """A line that names the classes that no mask of the first split holds. Raises DataError where
    fewer than two are left to be learnt."""
    classes = source.info.classes
    absent = [name for name, n in zip(classes, occurring(source), strict=True) if not n]
    if not absent:
        return []
    if learnt and len(classes) - len(absent) < 2:
        held = ", ".join(set(classes) - set(absent)) or "nothing but pixels to ignore"
        raise DataError(
            f"{title}: the masks of {role} hold {held}", "there must be two classes to tell apart"
        )
    return [f"warning: no mask of {role} holds {listed(absent)}: nothing can be learnt of it"]


def _called(source: Source, role: str) -> Source:
    """The source under the role's name; itself where it is called so."""
    if source.info.split == role:
        return source
    return subset(source, np.arange(len(source)), role)


def limited(source: Source, limit: int, seed: int) -> Source:
    if limit >= len(source):
        return source
    shuffled = np.random.default_rng((seed, 0x11417)).permutation(len(source))
    return subset(source, np.sort(shuffled[:limit]))


def _not_looked_at(splits: dict[str, Source]) -> list[str]:
    """Lines on splits that are too large to be decoded before training."""
    counts = {role: (len(looked_at(len(s))), len(s)) for role, s in splits.items()}
    return [
        f"{role}: {some:,} of {total:,} pictures were decoded to look for bad ones; "
        "data.skip_bad=true looks at all, once"
        for role, (some, total) in counts.items() if some < total
    ]  # fmt: skip


def _checked(
    title: str, splits: dict[str, Source], skip_bad: bool, thorough: bool
) -> tuple[dict[str, Source], list[tuple[str, str]]]:
    """The splits without the pictures that can't be decoded, and those. Raises DataError unless
    they may be left out, or where nothing is left."""
    good: dict[str, Source] = {}
    bad: list[tuple[str, str]] = []
    for role, source in splits.items():
        found = find_bad(source, thorough)
        bad += [(source.ids[i], reason) for i, reason in found]
        broken = {i for i, _ in found}
        good[role] = source
        if broken:
            good[role] = subset(source, [i for i in range(len(source)) if i not in broken])
        if not len(good[role]) and skip_bad:
            raise DataError(f"{title}: no picture of {role} can be decoded")
    if bad and not skip_bad:
        raise bad_pictures(title, sum(map(len, splits.values())), list(dict.fromkeys(bad)))
    return good, list(dict.fromkeys(bad))


def show(bundle: Bundle, items: bool = False) -> dict[str, Any]:
    """What is in a bundle, for `xfer data show`.

    Returns: {"splits": {role: {"images": n, "classes": {name: count}}}}, pictures of a class, or
    its boxes where there are any; these add "boxes", see `box_stats.summary`. Masks, which
    are all read, add "pixels": {name: share of the labelled pixels} and "ignored": share of all.
    `items` adds "items": [[id, class name], ...], a list of names where a picture may have several,
    None where it has no label.
    """
    names = bundle.classes
    splits: dict[str, dict[str, Any]] = {}
    for role, source in bundle.splits.items():
        masks = pixel_counts(source) if source.info.kind == "segment" else None
        labels = source.labels() if masks is None else (masks[:, :-1] > 0).astype(np.int8)
        several = labels.ndim == 2
        counts = (labels == 1).sum(0) if several else np.bincount(
            labels[labels >= 0], minlength=len(names)
        )  # fmt: skip
        one: dict[str, Any] = {
            "images": len(source),
            "classes": {name: int(n) for name, n in zip(names, counts, strict=True)},
        }
        if source.info.kind == "detect":
            boxes = collect(source)
            one["classes"] = per_class(boxes, names)
            one["boxes"] = summary(boxes)
        if masks is not None:
            one |= _shares(masks, names)
        if items:
            one["items"] = [
                [i, _named(row, names)] for i, row in zip(source.ids, labels, strict=True)
            ]
        splits[role] = one
    return {"splits": splits}


def _shares(masks: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, Any]:
    """Each class's share of the labelled pixels, and the share of all that is to be ignored."""
    pixels = masks.sum(0)
    labelled = max(1, int(pixels[:-1].sum()))
    shares = zip(names, pixels[:-1].tolist(), strict=True)
    return {
        "pixels": {name: round(n / labelled, 6) for name, n in shares},
        "ignored": round(int(pixels[-1]) / max(1, int(pixels.sum())), 6),
    }


def _named(label: Any, names: tuple[str, ...]) -> str | list[str] | None:
    if isinstance(label, np.ndarray):
        return [names[i] for i in np.flatnonzero(label == 1)]
    return names[label] if label >= 0 else None
