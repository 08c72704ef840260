"""`xfer data check`: everything that can be found wrong in data before training on them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfer import kinds, plugs
from xfer.backbones.build import check_name
from xfer.backbones.published import at_hand
from xfer.data.open import open_data
from xfer.data.sources.base import Bundle
from xfer.data.sources.changes import Change, write_changes
from xfer.doctor import suspects
from xfer.doctor.copies import RULE, Groups, copies
from xfer.doctor.fixes import proposals
from xfer.doctor.pictures import Looks, look_at, odd_pictures, some_of
from xfer.doctor.sheets import draw_sheets
from xfer.doctor.suspects import Suspect
from xfer.errors import DataError
from xfer.kinds.findings import Finding, counted, finding, named
from xfer.notebook.objects import findings_card
from xfer.recipe.data import check_kind
from xfer.types import Source

DEFAULT_NET = "alexnet"
# fewer examples of a class than this in training are few; so many times more of another is uneven
FEW, UNEVEN = 10, 10
Say = Callable[[str], None]


@dataclass(frozen=True, repr=False)
class Report:
    """What was found.

    bundle   | the data; images: how many pictures were looked at
    findings | in the order in which they are shown
    notes    | how the data were read, and what could not be looked for
    changes  | what could be changed, for `data.changes`
    """

    bundle: Bundle
    images: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    changes: tuple[Change, ...]

    def __repr__(self) -> str:
        found = ", ".join(dict.fromkeys(f.check for f in self.findings)) or "nothing odd"
        return f"<{self.bundle.name}: {self.images:,} pictures looked at; found: {found[:600]}>"

    def _repr_html_(self) -> str:
        findings = [(f.check, f.head or f.text, f.lines) for f in self.findings]
        return findings_card(self.bundle.name, self.images, findings, self.notes, len(self.changes))

    def document(self) -> dict[str, Any]:
        """{"images": n, "findings": [{"check", "items": [[id, ...], ...], "text"}], "notes"}."""
        return {
            "images": self.images,
            "findings": [
                {"check": f.check, "items": [list(item) for item in f.items], "text": f.text}
                for f in self.findings
            ],
            "notes": list(self.notes),
        }


@plugs.face("data", "backbone")
def check_data(
    data: Any,
    *,
    task: str = "",
    backbone: str = DEFAULT_NET,
    weights: str = "",
    draw: Path | str | None = None,
    fix: Path | str | None = None,
    device: str = "auto",
    data_keys: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
    say: Say = lambda text: None,
    tick: Callable[[int, int], None] | None = None,
) -> Report:
    """Looks for what is wrong in data: nothing is trained, and the data stay as they are.

    Args:
        data: a spec, or data in memory, as for `finetune`.
        task: the task that will use them; read as usual by default.
        backbone, weights: the frozen net that judges labels. Without `weights` its published ones
            are used if they are on this machine; nothing is downloaded.
        draw: a folder for a sheet of pictures per finding.
        fix: a csv for the proposed changes, see `xfer.data.sources.changes`.
        data_keys: images, ignore, path, label, split, changes, train, val, test, as in `open_data`.
        trust: your own modules that a run given as weights may import.
        say: called with lines about what is done; tick: with (pictures done, all) now and then.

    Raises: DataError for data that can't be read at all, or are not of the task's kind; XferError
        for a backbone that does not exist.
    """
    if backbone != DEFAULT_NET:
        check_name(backbone)
    wanted = {}
    if task:
        from xfer import task as tasks

        wanted = {"kind": tasks.get(task).kinds}
    bundle = open_data(
        data, skip_bad=True, check=False, cut=False, find=False, **wanted, **data_keys or {}
    )
    if task:
        check_kind(bundle.name, bundle, task)
    looks = look_at(bundle.splits, tick)
    kind, splits, classes = kinds.get(bundle.kind), bundle.splits, bundle.classes
    notes = [n for n in bundle.notes if "warning: " not in n and not n.startswith("not used: ")]
    findings = [*_from_reading(bundle), *odd_pictures(looks)]
    alike, exact, near = copies(looks, splits)
    findings += alike
    good = some_of(splits, looks.good)
    findings += [*kind.find(good, classes), *kind.find_in_pictures(good, classes)]
    findings += _classes(bundle, good)
    doubted: list[Suspect] = []
    try:
        found = _suspects(bundle, looks, [*exact, *near], backbone, weights, device, say)
        doubted, net = found
        findings += suspects.report(doubted, looks, classes, net)
    except _NotJudged as reason:
        notes.append(f"labels were not judged: {reason}")
    if near:
        notes.append(RULE)
    changes = proposals(looks, splits, classes, exact, near, doubted)
    if fix is not None:
        write_changes(Path(fix), changes)
        setting = shlex.quote(f"data.changes={fix}")
        say(f"{fix}: {counted(len(changes), 'proposed change')}; {setting} makes them")
    report = Report(bundle, len(looks.places), tuple(findings), tuple(notes), tuple(changes))
    if draw is not None:
        count = len(draw_sheets(report.findings, looks, bundle, Path(draw)))
        say(f"{counted(count, 'sheet')} in {draw}")
    return report


class _NotJudged(Exception):
    """Why there are no label suspects."""


def _suspects(
    bundle: Bundle, looks: Looks, groups: Groups, backbone: str, weights: str, device: str, say: Say
) -> tuple[list[Suspect], str]:
    """The suspects, and the net that found them, in words. Raises _NotJudged if there are none."""
    labels = suspects.all_labels(bundle.splits)
    if labels is None or len(bundle.classes) < 2:
        raise _NotJudged("that takes one class per picture, and two classes or more")
    if weights == "none":
        raise _NotJudged("a net without weights knows nothing")
    if not weights:
        if not at_hand(backbone):
            raise _NotJudged(
                f"no weights of {backbone} on this machine; --weights FILE, or --weights imagenet "
                "to fetch them"
            )
        weights = "imagenet"
    try:
        features, index = suspects.features_of(bundle, looks, backbone, weights, device, say)
    except DataError as error:
        if weights != "imagenet":
            raise
        raise _NotJudged(error.message) from None
    place = {k: row for row, k in enumerate(index.tolist())}
    together = [[place[k] for k in group if k in place] for group in groups]
    found = suspects.find_suspects(features, labels[index], [g for g in together if len(g) > 1])
    moved = [
        Suspect(int(index[s.index]), s.label, s.likely, s.own, s.other) for s in found
    ]  # fmt: skip
    return moved, f"{backbone} ({Path(weights).name})"


def _from_reading(bundle: Bundle) -> list[Finding]:
    """What the reader left out, warned of, or did not use."""
    findings: list[Finding] = []
    if bundle.skipped:
        head = f"{counted(len(bundle.skipped), 'entry', 'entries')} can't be used"
        lines = [f"{name} ({why})" for name, why in bundle.skipped]
        findings.append(finding("broken", head, [[name] for name, _ in bundle.skipped], lines))
    for note in bundle.notes:
        if "warning: " in note:
            findings.append(Finding("reading", note.replace("warning: ", "", 1)))
        elif note.startswith("not used: "):
            findings.append(Finding("unused", note))
    return findings


def _classes(bundle: Bundle, splits: Mapping[str, Source]) -> list[Finding]:
    """Classes of which there are few, or that another outnumbers."""
    kind = kinds.get(bundle.kind)
    if not kind.labelled or not kind.classes or not splits:
        return []
    role = next(iter(splits))
    counts: dict[str, int] = kind.summary(splits[role])["classes"]
    some = {name: n for name, n in counts.items() if n}
    findings: list[Finding] = []
    few = sorted((n, name) for name, n in some.items() if n < FEW)
    if few:
        names = named([f"{name} ({n})" for n, name in few], 10)
        what = counted(len(few), "class has", "classes have")
        findings.append(Finding("few", f"{what} fewer than {FEW} examples in {role}: {names}"))
    if len(some) > 1 and max(some.values()) >= UNEVEN * min(some.values()):
        most, least = max(some, key=some.__getitem__), min(some, key=some.__getitem__)
        findings.append(
            Finding(
                "uneven",
                f"{most} has {some[most] / some[least]:.0f} times as many examples in {role} as "
                f"{least}: {some[most]:,} and {some[least]:,}",
            )
        )
    return findings
