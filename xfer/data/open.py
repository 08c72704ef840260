"""From what a user types to splits of samples: NAME, PATH or FORMAT:PATH."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.check import find_broken, report_broken
from xfer.data.folder import SPLIT_NAMES
from xfer.data.source import ROLES, Bundle, Format, Found, Source, Subset, formats
from xfer.data.split import first_of_shuffle, stratified
from xfer.errors import DataError, XferError, nearest

VAL_SHARE = 0.2
EMBEDDED = ("digits",)


def data_folder(name: str) -> Path:
    """Where a known set is looked for: $XFER_DATA/NAME, else ~/.local/share/xfer/NAME."""
    root = os.environ.get("XFER_DATA")
    return (Path(root) if root else Path.home() / ".local" / "share" / "xfer") / name


def open_data(
    spec: str | Path | Bundle,
    *,
    train: str = "",
    val: str = "",
    test: str = "",
    seed: int = 0,
    limit: int = 0,
    skip_bad: bool = False,
    check: bool = True,
    classes: Sequence[str] | None = None,
    cut: bool = True,
) -> Bundle:
    """Opens a data set.

    Args:
        spec: NAME, PATH, FORMAT:PATH or package.module:Class.
        train, val, test: names of the splits in the data; "": found by name; "none": without.
        seed: of the validation split that is cut where there is none, and of `limit`.
        limit: the first N of a seeded shuffle of each split, after splitting; 0: all.
        skip_bad: leave out pictures that can't be decoded and record them, instead of stopping.
        check: decode every picture once, to find those.
        classes: the classes that the data must be about, by name (a trained model's).
        cut: whether a validation split is cut from train where there is none.

    Raises: DataError for data that are absent, broken or don't fit; XferError for a spec that
        could be read in several ways or an unknown format.
    """
    if isinstance(spec, Bundle):
        return spec
    text = str(spec)
    name, reader, path, how = _reader(text)
    found = reader.load(path, name)
    splits, notes = _roles(text, found, {"train": train, "val": val, "test": test})
    bundle = Bundle(name, how[0], found.kind, found.classes, splits, (*how[1:], *found.notes))
    if classes is not None:
        bundle = _with_classes(bundle, tuple(classes))
    elif bundle.kind == "classify":
        bundle = _checked_classes(bundle, text)
    if "val" not in splits and "train" in bundle.splits and val != "none" and cut:
        bundle, note = _cut_val(bundle, seed)
        notes.append(note)
    if limit:
        short = {
            role: Subset(s, first_of_shuffle(len(s), limit, seed).tolist())
            for role, s in bundle.splits.items()
        }
        bundle = replace(bundle, splits=short)
    if check:
        bundle = _without_broken(bundle, skip_bad, notes)
    for role, split in bundle.splits.items():
        if not len(split):
            raise DataError(f"{text}: no pictures in the {role} split")
    return replace(bundle, notes=(*bundle.notes, *notes))


def _reader(text: str) -> tuple[str, Format, Path, tuple[str, ...]]:
    """Name, format, path, and (format's name, line that says how it was found)."""
    if not text:
        raise XferError("no data given", "--data NAME, PATH or FORMAT:PATH")
    path = Path(text).expanduser()
    head, colon, rest = text.partition(":")
    if path.exists():
        return _recognised(path.name or text, path, text)
    if colon and head in formats.names():
        inside = Path(rest).expanduser() if rest else Path()
        if head in EMBEDDED:
            return head, formats.get(head), inside, (head,)
        if not inside.exists():
            raise DataError(f"{rest or '(empty)'}: no such file or folder", _near(inside))
        return inside.name, formats.get(head), inside, (head,)
    if colon and "." in head and "/" not in text:
        return text, _foreign(head, rest), Path(), (text,)
    if colon and "/" not in head and "\\" not in text:
        raise XferError(f"unknown data format {head!r}", nearest(head, formats.names(), 20))
    if text in EMBEDDED:
        return text, formats.get(text), Path(), (text,)
    if "/" not in text and "\\" not in text:
        folder = data_folder(text)
        if folder.exists():
            return _recognised(text, folder, str(folder))
        raise DataError(
            f"no data {text!r}: neither a file or folder here nor the folder {folder}",
            _near(path),
        )
    raise DataError(f"{text}: no such file or folder", _near(path))


def _foreign(module: str, name: str) -> Format:
    """A format of the user's own: package.module:Class."""
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise XferError(f"data {module}:{name}: {error}") from None
    return made() if isinstance(made, type) else made


def _recognised(name: str, path: Path, text: str) -> tuple[str, Format, Path, tuple[str, ...]]:
    if path.is_dir() and not any(path.iterdir()):
        raise DataError(f"{text}: the folder is empty", "a folder a class, each with pictures")
    seen = {n: formats.get(n).recognise(path) for n in formats.names()}
    readings = {n: what for n, what in seen.items() if what}
    if not readings:
        raise DataError(
            f"{text}: not recognised as a data set",
            f"FORMAT:PATH says what it is; formats: {', '.join(formats.names())}",
        )
    if len(readings) > 1:
        listed = "; ".join(f"{n}:{text} ({what})" for n, what in readings.items())
        raise XferError(f"{text} can be read in several ways", f"say which: {listed}")
    how, what = next(iter(readings.items()))
    return name, formats.get(how), path, (how, f"{text}: read as {how} ({what})")


def _near(path: Path) -> str:
    parent = path.parent if str(path.parent) else Path()
    if not parent.is_dir():
        return f"{parent} does not exist either; `xfer data ls` lists what is there"
    beside = [p.name for p in parent.iterdir() if not p.name.startswith(".")]
    return nearest(path.name, beside) if beside else f"{parent} is empty"


def _roles(
    text: str, found: Found, asked: dict[str, str]
) -> tuple[dict[str, Source], list[str]]:
    """The splits by the role that they play: as named by the user, else by their own names."""
    own = found.splits
    notes: list[str] = []
    if set(own) == {"all"} and not any(n not in ("", "none") for n in asked.values()):
        return {"train": own["all"]}, notes
    roles: dict[str, Source] = {}
    for role in ROLES:
        name = asked[role]
        if name == "none":
            continue
        if name:
            # --val val means a folder called valid as well, if there is no val
            close = [n for n in own if SPLIT_NAMES.get(n.lower(), n) == SPLIT_NAMES.get(name, name)]
            match = [name] if name in own else close
            if not match:
                raise DataError(
                    f"{text}: no split {name!r} for --{role}", f"it has {', '.join(own)}"
                )
            roles[role] = own[match[0]]
            continue
        taken = [asked[r] for r in ROLES if asked[r]]
        for split_name, split in own.items():
            if SPLIT_NAMES.get(split_name.lower()) == role and split_name not in taken:
                roles.setdefault(role, split)
    unused = [n for n, s in own.items() if not any(s is r for r in roles.values())]
    if unused and roles:
        notes.append(f"splits not used: {', '.join(unused)}")
    return roles, notes


def _checked_classes(bundle: Bundle, text: str) -> Bundle:
    """Every split's classes must be among train's, and train must have two to tell apart."""
    if "train" not in bundle.splits:
        return bundle
    counts = np.bincount(_known(bundle.splits["train"].labels()), minlength=len(bundle.classes))
    own = [c for c, n in zip(bundle.classes, counts, strict=True) if n]
    for role, split in bundle.splits.items():
        there = {bundle.classes[i] for i in np.unique(_known(split.labels()))}
        extra = sorted(there - set(own))
        if extra:
            raise DataError(
                f"{text}: {role} has classes that train does not: {', '.join(extra[:10])}",
                "classes are matched by name; is a folder misspelt?",
            )
    if len(own) < 2:
        raise DataError(
            f"{text}: only one class ({', '.join(own) or 'none'}) in train",
            "two or more are needed to tell apart: a folder for each",
        )
    return bundle if tuple(own) == bundle.classes else _with_classes(bundle, tuple(own))


def _known(labels: Any) -> Any:
    return labels[labels >= 0]


def _with_classes(bundle: Bundle, classes: tuple[str, ...]) -> Bundle:
    """The bundle with labels that are indices into `classes`, matched by name."""
    if bundle.kind == "images" or bundle.classes == classes:
        return bundle
    used: set[str] = set()
    for split in bundle.splits.values():
        labels = split.labels()
        present = _known(labels) if labels.ndim == 1 else np.flatnonzero((labels == 1).any(0))
        used |= {bundle.classes[i] for i in np.unique(present)}
    unknown = sorted(used - set(classes))
    if unknown:
        raise DataError(
            f"{bundle.name}: classes that the model does not know: {', '.join(unknown[:10])}",
            f"it knows {', '.join(classes[:10])}",
        )
    to = np.array([classes.index(c) if c in classes else -1 for c in bundle.classes])
    splits: dict[str, Source] = {r: Renamed(s, classes, to) for r, s in bundle.splits.items()}
    return replace(bundle, splits=splits, classes=classes)


class Renamed(Subset):
    """A source whose labels are indices into another list of classes."""

    def __init__(self, source: Source, classes: tuple[str, ...], to: Any) -> None:
        super().__init__(source, range(len(source)))
        self.info = replace(source.info, classes=classes)
        self.to = to

    def _moved(self, labels: Any) -> Any:
        if np.ndim(labels) == 0:
            return int(self.to[labels]) if labels >= 0 else -1
        return labels

    def __getitem__(self, i: int) -> Any:
        return self.read(i)

    def read(self, i: int, short_side: int = 0) -> Any:
        sample = super().read(i, short_side)
        if np.ndim(sample.label) == 0 and sample.label is not None:
            return replace(sample, label=self._moved(sample.label))
        return replace(sample, label=self.labels()[i])

    def labels(self) -> Any:
        labels = super().labels()
        if labels.ndim == 1:
            return np.where(labels >= 0, self.to[labels], -1)
        moved = np.full((len(labels), len(self.info.classes)), -1, np.int8)
        for old, new in enumerate(self.to):
            if new >= 0:
                moved[:, new] = labels[:, old]
        return moved


def _cut_val(bundle: Bundle, seed: int) -> tuple[Bundle, str]:
    train = bundle.splits["train"]
    keep, held_out = stratified(train.labels(), VAL_SHARE, seed)
    if not len(held_out):
        raise DataError(
            f"{bundle.name}: too few pictures to cut a validation split",
            "--val none trains on all of them",
        )
    splits: dict[str, Source] = dict(bundle.splits)
    for role, rows in (("train", keep), ("val", held_out)):
        part = Subset(train, rows.tolist())
        part.info = replace(part.info, split=role)
        splits[role] = part
    ordered = {role: splits[role] for role in ROLES if role in splits}
    how = "by class" if train.labels().ndim == 1 else "at random"
    note = f"no val split: {len(held_out)} of {len(train)} pictures held out {how}, seed {seed}"
    return replace(bundle, splits=ordered), note


def _without_broken(bundle: Bundle, skip_bad: bool, notes: list[str]) -> Bundle:
    broken = {role: find_broken(split) for role, split in bundle.splits.items()}
    listed = {str(path): why for found in broken.values() for _, path, why in found}
    if not listed:
        return bundle
    if not skip_bad:
        raise report_broken(listed)
    splits: dict[str, Source] = {}
    for role, split in bundle.splits.items():
        bad = {i for i, _, _ in broken[role]}
        rows = [i for i in range(len(split)) if i not in bad]
        splits[role] = Subset(split, rows) if bad else split
    notes.append(f"left out {len(listed)} pictures that can't be decoded (listed in env.json)")
    return replace(bundle, splits=splits, skipped=tuple(listed.items()))


def show(bundle: Bundle, items: bool = False) -> dict[str, Any]:
    """What `xfer data show` prints: per split the number of pictures and of each class.

    With `items` also [[id, class name], ...]; several labels are joined by "; ".
    """
    shown: dict[str, Any] = {}
    for role, split in bundle.splits.items():
        labels = split.labels()
        names = [_named(label, bundle.classes) for label in labels]
        counts = Counter(name for found in names for name in found)
        entry: dict[str, Any] = {
            "images": len(split),
            "classes": {c: counts.get(c, 0) for c in bundle.classes},
        }
        if items:
            entry["items"] = [
                [sample, "; ".join(found) or None]
                for sample, found in zip(split.ids, names, strict=True)
            ]
        shown[role] = entry
    return {"splits": shown}


def _named(label: Any, classes: tuple[str, ...]) -> list[str]:
    if np.ndim(label):
        return [classes[i] for i in np.flatnonzero(np.asarray(label) == 1)]
    return [classes[label]] if label >= 0 else []
