"""Open data: a spec becomes splits with one set of classes, checked before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xfer import kinds
from xfer.data.images.remarks import Remark
from xfer.data.inspect.checks import look
from xfer.data.inspect.verify import bad_pictures, checked_indices, look_at, odd_pictures
from xfer.data.joining import open_joint
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.sources.base import Bundle, subset
from xfer.data.sources.boxes_as_labels import without_masks
from xfer.data.sources.changes import apply_changes, read_changes
from xfer.data.sources.class_names import match_classes
from xfer.data.sources.kept import Kept, find_again
from xfer.data.sources.split import VAL_SHARE, stratified
from xfer.data.sources.split_names import is_trainval, role_of
from xfer.data.spec import open_spec
from xfer.data.streams.open_stream import open_stream
from xfer.data.streams.shards import is_stream
from xfer.data.together import is_joint
from xfer.errors import DataError, XferError, nearest
from xfer.files import at_home
from xfer.kinds.findings import Finding, named
from xfer.types import Source

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
    path: str = "",
    label: str = "",
    split: str = "",
    also: str = "",
    verify: bool = True,
    changes: str = "",
    check: bool = True,
    thorough: bool = False,
    classes: Sequence[str] | None = None,
    cut: bool = True,
    find: bool = True,
    kept: Kept | None = None,
    stream_size: int = 0,
    stream_classes: str | None = None,
) -> Bundle:
    """Open data and make it ready to train on or to score.

    The split called train or training is trained on; val, valid or validation chooses the best
    step; test or testing is scored once. Without a val split a fifth of train is split off, seeded
    and by class. A split that is named for one role is not used for another unless it is named for
    that one too. The classes are those of train; those of the other splits are matched by name.

    Args:
        spec: NAME, PATH, FORMAT:PATH, package.module:Class, a Source, a Bundle, or a mapping of
            split names to Sources.
        train, val, test: names of splits; "none": use none; empty: found by name.
        seed: for splitting off val and for `limit`.
        limit: use the first N of a seeded shuffle of each split, after splitting; 0: all.
        skip_bad: leave out pictures that can't be decoded and invalid boxes, and record them in
            `skipped`, instead of raising.
        kind: the kind or kinds to read the data as (a task's `kinds`), if they can be read in
            several ways; empty: the default.
        images: the folder that holds the pictures of an annotation file; empty: found.
        ignore: for masks: classes whose pixels are ignored, names or mask values, separated by
            commas; none: no class; empty: those whose names say so (void, unlabelled, ignore).
        path, label, split: names of a table's columns, see `ReadOptions`; empty: found.
        also: further specs, separated by commas, with what else is known of the same pictures; for
            a joint kind, see `xfer.data.joining`.
        verify: compare the checksums of packs and of kept indexes.
        changes: a csv of pictures to leave out and labels to change, see
            `xfer.data.sources.changes`.
        check: decode the pictures of the splits once, now; for a split of more than 100,000 only
            a sample, unless `thorough`.
        thorough: decode all of them, however many.
        classes: those of a trained model. Labels become indices into them, a single class is
            enough, and nothing is split off from train.
        cut: whether the data are for training: a val split is split off from train if there is
            none, and a single class is not enough.
        find: look for what is odd: copies across splits, labels that contradict each other, ...
        kept: a split of an earlier run: only its pictures are opened, and the bundle's `drift` says
            what has changed. With `classes`, those of the run, and without `limit`.

    Raises: DataError for data that are missing or can't be used, XferError for a wrong spec or
        split name.
    """
    names = {"train": train, "val": val, "test": test}
    if is_stream(spec):
        refused = {"train": train, "test": test, "limit": limit, "changes": changes,
                   "images": images, "path": path, "label": label, "split": split}  # fmt: skip
        _check_streamed(spec, stream_classes, {k: v for k, v in refused.items() if v})
        if val != NONE and (val or (cut and classes is None)):
            raise XferError(f"{spec}: a stream has no val split, and none can be cut", "--val none")
        return open_stream(spec, stream_classes or "", stream_size, labelled=cut)
    if stream_size or stream_classes:
        raise XferError(f"{spec} is no stream: data.stream_size and data.classes are for streams")
    given = tuple(name for name in names.values() if name and name != NONE)
    wanted_as = (kind,) if isinstance(kind, str) and kind else tuple(kind)
    options = ReadOptions(
        given, skip_bad, images=images, ignore=ignore, path=path, label=label, split=split,
        also=also, verify=verify,
    )  # fmt: skip
    joint = bool(wanted_as) and all(map(is_joint, wanted_as))
    opened = (open_joint if joint else open_spec)(spec, options, wanted_as)
    title, reading = opened.name, opened.reading
    notes = list(reading.notes)
    if (unused := reading.unused_line()) is not None:
        notes.append(unused)
    if not joint:
        plain = {name: without_masks(part, wanted_as) for name, part in reading.parts.items()}
        reading = replace(reading, parts=plain)
    splits = _choose(title, reading, names, notes)
    splits = {role: _labelled(title, role, source, notes) for role, source in splits.items()}
    if changes:
        file = at_home(changes)
        splits, lines = apply_changes(file, read_changes(file), splits)
        notes += lines
    drift = None
    if kept is not None:
        splits[kept.role], drift = find_again(title, splits, kept)
        splits = {kept.role: splits[kept.role]}
    first = next(iter(splits))
    kind_name = splits[first].info.kind
    kind_of_data = kinds.get(kind_name)
    own = classes is None
    wanted = tuple(classes) if classes is not None else kind_of_data.used_classes(splits[first])
    if kind_of_data.labelled and kind_of_data.classes:
        for role, source in splits.items():
            theirs = first if own else "the model"
            splits[role], lines = match_classes(source, wanted, f"{title}, {role}", theirs)
            notes += lines
    if own:
        try:
            kind_of_data.check_truth(title, first, splits[first], wanted, learn=cut)
        except DataError as error:
            raise _with_reasons(error, reading.skipped, notes) from None
    if cut and own and "train" in splits and "val" not in splits and val != NONE:
        _cut_val(title, splits, seed, notes)
    splits = {role: _with_role(source, role) for role, source in splits.items()}
    if limit:
        splits = {role: limited(source, limit, seed) for role, source in splits.items()}
    skipped = list(reading.skipped)
    odd: list[Finding] = []
    if check:
        splits, bad, odd = _checked(title, splits, skip_bad, thorough)
        skipped += bad
    if check and not thorough:
        notes += _not_looked_at(splits)
    findings = [*odd, *(look(kind_of_data, splits, wanted) if own and find else [])]
    notes += [f"warning: {finding.text}" for finding in findings]
    if check and own:
        try:
            notes += kind_of_data.check_pictures(title, first, splits[first], learn=cut)
        except DataError as error:
            raise _with_reasons(error, skipped, notes) from None
    if skipped:
        some = named([f"{name} ({why})" for name, why in skipped], 3)
        notes.append(f"left out: {len(skipped)} that can't be used: {some}")
    return Bundle(
        title, opened.format, kind_name, wanted, splits, tuple(notes), tuple(skipped),
        tuple(findings), drift,
    )  # fmt: skip


def _check_streamed(spec: str, classes: str | None, refused: dict[str, Any]) -> None:
    """Raises XferError where a stream can't be read, and for options that it does not have."""
    if classes is None:
        raise XferError(
            f"{spec}: a stream, which finetune, pretrain and features read, and no other command",
            "read the shards as files: webdataset:FOLDER",
        )
    for name in refused:
        raise XferError(
            f"{spec}: a stream has no {name}",
            "data.stream_size=N says how many pictures an epoch has" if name == "limit" else None,
        )


def _with_reasons(
    error: DataError, skipped: Sequence[tuple[str, str]], notes: Sequence[str] = ()
) -> DataError:
    """The error, with the reason why something was left out, if anything was, or else with a line
    about a table that is not read."""
    if not skipped:
        unread = next((note for note in notes if "not read:" in note), error.hint)
        return DataError(error.message, unread)
    name, reason = skipped[0]
    return DataError(
        f"{error.message}: {len(skipped)} can't be used, first {name} ({reason})", error.hint
    )


def _choose(
    title: str, reading: Reading, names: dict[str, str], notes: list[str]
) -> dict[str, Source]:
    """Role -> source: the splits that the user named, then those whose names match a role."""
    parts = reading.parts
    chosen: dict[str, str] = {}
    for role, name in names.items():
        if name and name != NONE:
            chosen[role] = find_part(title, parts, name)
    for role, name in names.items():
        if name:
            continue
        matching = [p for p in parts if role_of(p) == role and p not in chosen.values()]
        if len(matching) > 1:
            raise XferError(f"{title} has {' and '.join(matching)}", f"choose one: --{role} NAME")
        if role == "train" and not matching:  # VOC's name for train and val together
            matching = [p for p in parts if is_trainval(p) and p not in chosen.values()]
        if matching:
            chosen[role] = matching[0]
    if len(parts) == 1 and not chosen and names["train"] != NONE:
        chosen["train"] = next(iter(parts))
    splits = {role: parts[chosen[role]] for role in ("train", "val", "test") if role in chosen}
    labelled = "train" in splits and kinds.get(splits["train"].info.kind).labelled
    for role in [r for r in ("val", "test") if r in splits and labelled]:
        if not kinds.get(splits[role].info.kind).labelled:
            if names[role]:
                raise DataError(f"{title}: the pictures of {chosen[role]} have no labels")
            notes.append(f"{chosen[role]}: no labels, so it is not scored")
            del splits[role]
    found_kinds = {role: source.info.kind for role, source in splits.items()}
    if len(set(found_kinds.values())) > 1:
        listed = ", ".join(f"{role} {kind}" for role, kind in found_kinds.items())
        raise DataError(f"{title}: the splits hold different kinds of labels ({listed})")
    if not splits:
        raise XferError(f"{title}: no split is left", f"it has {', '.join(parts)}")
    return splits


def _labelled(title: str, role: str, source: Source, notes: list[str]) -> Source:
    """A split without the samples that have no label."""
    known = kinds.get(source.info.kind).known(source.labels())
    if known is None or known.all():
        return source
    without = ~known
    if without.all():
        raise DataError(f"{title}: no picture of {role} has a label")
    notes.append(f"{role}: {int(without.sum())} pictures without a label are left out")
    return subset(source, np.flatnonzero(~without))


def find_part(title: str, parts: dict[str, Source], name: str) -> str:
    """The name of the part that the user means: the same name, or one for the same role."""
    if name in parts:
        return name
    same = [p for p in parts if role_of(name) and role_of(p) == role_of(name)]
    if len(same) != 1:
        raise XferError(f"{title} has no split {name!r}", nearest(name, parts))
    return same[0]


def _cut_val(title: str, splits: dict[str, Source], seed: int, notes: list[str]) -> None:
    whole = splits["train"]
    strata = kinds.get(whole.info.kind).strata(whole)
    train, val = stratified(strata, whole.ids, seed=seed)
    if len(val) == 0:
        used = len(kinds.get(whole.info.kind).used_classes(whole))
        raise DataError(
            f"{title}: too few pictures to split off a val split: {len(whole)}, of {used} classes",
            "--val none",
        )
    splits["train"], splits["val"] = subset(whole, train, "train"), subset(whole, val, "val")
    # keep the roles in order, since they are shown and stored in it
    for role in ("train", "val", "test"):
        if role in splits:
            splits[role] = splits.pop(role)
    how = "split off by class" if (strata >= 0).any() else "split off"
    notes.append(
        f"val: {len(val)} of {len(whole)} training pictures, {how} with seed {seed} "
        f"({VAL_SHARE:.0%})"
    )


def check_scored(bundle: Bundle) -> None:
    """Raises DataError if val or test, which are scored in training, has nothing to score."""
    for role in ("val", "test"):
        if role in bundle.splits:
            kinds.get(bundle.kind).check_scored(bundle.name, role, bundle.splits[role])


def _with_role(source: Source, role: str) -> Source:
    """The source with the role as its split name."""
    if source.info.split == role:
        return source
    return subset(source, np.arange(len(source)), role)


def limited(source: Source, limit: int, seed: int) -> Source:
    if limit >= len(source):
        return source
    shuffled = np.random.default_rng((seed, 0x11417)).permutation(len(source))
    return subset(source, np.sort(shuffled[:limit]))


def _not_looked_at(splits: dict[str, Source]) -> list[str]:
    """Lines about splits that are too large to be decoded in full before training."""
    counts = {role: (len(checked_indices(len(s))), len(s)) for role, s in splits.items()}
    return [
        f"{role}: {some:,} of {total:,} pictures were decoded to look for bad ones; "
        "--skip-bad (data.skip_bad=true) decodes all, once"
        for role, (some, total) in counts.items() if some < total
    ]  # fmt: skip


def _checked(
    title: str, splits: dict[str, Source], skip_bad: bool, thorough: bool
) -> tuple[dict[str, Source], list[tuple[str, str]], list[Finding]]:
    """The splits without the pictures that can't be decoded, a list of these, and what is odd about
    the others. Raises DataError unless they may be left out, or if nothing is left."""
    good: dict[str, Source] = {}
    bad: list[tuple[str, str]] = []
    odd: list[tuple[str, Remark]] = []
    for role, source in splits.items():
        looked = look_at(source, thorough)
        bad += [(source.ids[i], reason) for i, reason in looked.bad]
        odd += [(source.ids[i], remark) for i, remark in looked.remarks]
        broken = {i for i, _ in looked.bad}
        good[role] = source
        if broken:
            good[role] = subset(source, [i for i in range(len(source)) if i not in broken])
        if not len(good[role]) and skip_bad:
            raise _with_reasons(DataError(f"{title}: no picture of {role} can be used"), bad)
    if bad and not skip_bad:
        raise bad_pictures(title, sum(map(len, splits.values())), list(dict.fromkeys(bad)))
    return good, list(dict.fromkeys(bad)), odd_pictures(odd)


def show(bundle: Bundle, items: bool = False) -> dict[str, Any]:
    """Summarise a bundle, for `xfer data show`.

    Returns: {"splits": {role: {"images": n, "classes": {name: count}}}}, and what the kind of data
    adds, see `Kind.summary`. `items` adds "items": [[id, class name], ...], see `Kind.items`.
    "notes" and "warnings": lines for people; "left_out": [[file, reason], ...].
    """
    kind = kinds.get(bundle.kind)
    splits: dict[str, dict[str, Any]] = {}
    for role, source in bundle.splits.items():
        splits[role] = kind.summary(source)
        if items:
            splits[role]["items"] = kind.items(source)
    warnings = [note for note in bundle.notes if "warning: " in note]
    return {
        "splits": splits,
        "notes": [note for note in bundle.notes if note not in warnings],
        "warnings": [note.replace("warning: ", "", 1) for note in warnings],
        "left_out": [list(one) for one in bundle.skipped],
    }
