"""Data, features, models and findings as they show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xfer.errors import spoken
from xfer.notebook.card import calls, card, facts, folded, grid, soft
from xfer.report.markup import Markup, el, number

MAX_NOTES = 40
MAX_CLASSES = 60


def data_card(
    name: str, holds: str, format: str, splits: Mapping[str, int], classes: Sequence[str],
    notes: Sequence[str],
) -> str:  # fmt: skip
    """The card of a bundle. Args: splits: pictures of each; notes: how it was read."""
    counts = [{"split": role, "pictures": count} for role, count in splits.items()]
    plain = [note for note in notes if "warning: " not in note]
    return card(
        name,
        soft(f"{holds}; read as {format}"),
        grid(counts),
        _classes(classes),
        *warnings(notes),
        folded("How it was read", *(el("p", note) for note in plain)) if plain else None,
        calls("Pictures:", "xfer.show(data)"),
    )


def model_card(title: str, classes: Sequence[str], about: Mapping[str, Any], where: str) -> str:
    """The card of a loaded model. Args: about: what else there is to say, by name."""
    return card(
        title, soft("in ", el("code", where)) if where else None, facts(about.items()),
        _classes(classes), calls("Next:", "model.predict(pictures)"),
    )  # fmt: skip


def features_card(
    count: int, layers: Mapping[str, str], splits: Mapping[str, int], classes: Sequence[str],
    meta: Mapping[str, Any],
) -> str:  # fmt: skip
    """The card of a table of features. Args: layers: name -> width and type, in words."""
    about = meta.get("data") or {}
    weights = (meta.get("weights") or {}).get("spec", "")
    known = {"backbone": meta.get("backbone"), "weights": weights, "pool": meta.get("pool"),
             "crops": meta.get("crops"), "normalise": meta.get("normalise"),
             "data": about.get("spec")}  # fmt: skip
    return card(
        f"Features of {count:,} pictures",
        grid([{"layer": name, "numbers per picture": what} for name, what in layers.items()]),
        grid([{"split": name, "pictures": n} for name, n in splits.items()]),
        facts(known.items()),
        _classes(classes),
    )


def extraction_card(counts: Mapping[str, Any], path: str) -> str:
    """The card of an extraction: how many pictures, how fast, and where the rows are."""
    computed, cached = counts["computed"], counts["cached"]
    return card(
        f"Features of {computed + cached:,} pictures",
        soft(f"{computed:,} computed, {cached:,} from the cache; {number(counts['seconds'])} s, "
             f"{counts['images_per_second']:.0f} pictures per second"),
        el("p", "in ", el("code", path)) if path else soft("in memory: .features"),
        calls("Next:", f"xfer.probe({path!r})") if path else None,
    )  # fmt: skip


def findings_card(
    name: str, images: int, findings: Sequence[tuple[str, str, Sequence[str]]],
    notes: Sequence[str], changes: int,
) -> str:  # fmt: skip
    """The card of what was found in data. Args: findings: (check, head, lines) of each."""
    parts: list[Markup] = []
    for check, head, lines in findings:
        words = [el("code", check), " ", spoken(head)]
        some = lines[:MAX_NOTES]
        more = f"and {len(lines) - len(some):,} more" if len(lines) > len(some) else None
        if some:
            body = el("ul", *(el("li", line) for line in some), el("li", more) if more else None)
            parts.append(el("details", el("summary", *words), body))
        else:
            parts.append(el("p", *words))
    found = "nothing odd was found" if not findings else f"{len(findings):,} findings"
    changed = soft(f"{changes:,} proposed changes: .changes") if changes else None
    return card(f"{name}: {images:,} pictures looked at, {found}", *parts, changed,
                *(soft(spoken(note)) for note in notes))  # fmt: skip


def warnings(notes: Sequence[str]) -> list[Markup]:
    """The notes that warn, a line each."""
    lines = [note.replace("warning: ", "", 1) for note in notes if "warning: " in note]
    shown = [el("p", spoken(line), class_="warn") for line in lines[:MAX_NOTES]]
    more = len(lines) - len(shown)
    return [*shown, soft(f"and {more:,} more warnings")] if more else shown


def _classes(classes: Sequence[str]) -> Markup | None:
    if not classes:
        return None
    some = ", ".join(classes[:MAX_CLASSES])
    more = f" and {len(classes) - MAX_CLASSES:,} more" if len(classes) > MAX_CLASSES else ""
    return soft(f"{len(classes):,} classes: {some}{more}")
