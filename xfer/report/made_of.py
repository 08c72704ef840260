"""What a run was made of, on its page: recipe, data, machine, and where its time went."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from xfer.kinds.findings import counted
from xfer.report.charts import share_bar
from xfer.report.course import is_number
from xfer.report.facts import Facts
from xfer.report.markup import Markup, el, folded, join, number, table

MAX_NOTES = 40


def recipe(facts: Facts) -> Markup:
    """What the run changed, and every key."""
    changed = [[key, _value(old), _value(new)] for key, (old, new) in facts.changed.items()]
    rows = [[key, _value(value)] for key, value in facts.recipe.items()]
    command = facts.env.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    from_ = facts.recipe_name or facts.base
    return join(
        el("p", "Made by ", el("code", "xfer " + " ".join(words[1:])), class_="command")
        if words else None,
        el("p", f"Recipe {from_}; what differs from {facts.base}:" if changed else
           f"Recipe {from_}, as it is."),
        table([("key", ""), (facts.base, ""), ("this run", "")], changed,
              caption="Changed settings") if changed else None,
        folded("All settings", table([("key", ""), ("value", "")], rows, caption="All settings")),
        el("p", "Again: ", el("code", f"xfer finetune --recipe {facts.path}/recipe.toml")),
    )  # fmt: skip


def _value(value: Any) -> str:
    if value in ("", None, ()):
        return "–"
    return str(value) if isinstance(value, float) else number(value)


def data(facts: Facts) -> Markup:
    """Counts of each split and class, and what was remarked about the data."""
    rows: list[list[Any]] = [[role, count] for role, count in facts.counts()]
    env = facts.env
    notes = [str(n) for n in env.get("data_notes", ())] + list(facts.live.notes)
    skipped = env.get("skipped") or []
    lines = [el("li", note) for note in dict.fromkeys(notes)]
    if skipped:
        lines.append(el("li", f"{counted(len(skipped), 'picture')} could not be used"))
    more = len(lines) - MAX_NOTES
    about = [
        ("source", facts.recipe.get("data.source")), ("format", env.get("data_format")),
        ("classes", f"{len(facts.classes):,}" if facts.classes else None),
        ("fingerprint", str(env.get("data_fingerprint") or env.get("fingerprint") or "")[:16]),
    ]  # fmt: skip
    return join(
        definitions(about),
        table([("split", ""), ("pictures", "n")], rows, caption="Pictures") if rows else None,
        el("ul", *lines[:MAX_NOTES], class_="note") if lines else None,
        el("p", f"{more} more remarks are in env.json.", class_="note") if more > 0 else None,
    )


def definitions(pairs: Any) -> Markup:
    """Terms and what they are; those without a value are left out."""
    known = [(name, value) for name, value in pairs if value not in (None, "")]
    return el("dl", *(join(el("dt", k), el("dd", v)) for k, v in known), class_="about")


def machine(facts: Facts) -> Markup:
    """Versions, device and the state of the code."""
    env = facts.env
    versions: Mapping[str, Any] = env.get("versions") or {}
    git: Mapping[str, Any] = env.get("git") if isinstance(env.get("git"), Mapping) else {}  # pyright: ignore[reportAssignmentType]
    about = [
        ("device", env.get("device")), ("precision", env.get("precision")),
        ("processes", env.get("world_size")), ("processor cores", env.get("cores")),
        ("system", env.get("platform")), ("weights", env.get("weights")),
        ("code", " ".join(str(v) for v in git.values() if v) or None),
        *((name, version) for name, version in versions.items()),
    ]  # fmt: skip
    return definitions(about)


def speed(facts: Facts) -> Markup | None:
    """Where the time went: waiting for data, steps, evaluations and the rest."""
    result, train = facts.result, facts.of_events("train")
    rates = [float(e["images_per_second"]) for e in train if is_number(e.get("images_per_second"))]
    memory = [float(e["memory_mb"]) for e in train if is_number(e.get("memory_mb"))]
    seconds = result.get("seconds")
    about: list[tuple[str, Any]] = [
        ("seconds in all", number(seconds) if seconds is not None else None),
        ("steps", result.get("steps")),
        ("pictures per second", f"{result['images_per_second']:,.1f}"
         if is_number(result.get("images_per_second")) else None),
        ("the same, median while training", f"{median(rates):,.1f}" if rates else None),
        ("most memory", f"{max(memory):,.0f} MB" if memory else
         f"{result['peak_memory_mb']:,.0f} MB" if result.get("peak_memory_mb") else None),
    ]  # fmt: skip
    parts = time_split(facts)
    if not parts and not any(value for _, value in about):
        return None
    total = sum(value for _, value in parts) or 1
    rows = [
        [name, (join(share_bar(value, total), f"{value:,.1f} s"), value), f"{value / total:.0%}"]
        for name, value in parts
    ]
    return join(
        definitions(about),
        table([("part", ""), ("time", "n"), ("share", "n")], rows, caption="Where the time went")
        if rows else None,
        el("p", "Waiting is time in which the net had no pictures: more ",
           el("code", "data.workers"), ", a pack (", el("code", "xfer data pack"),
           ") or smaller pictures help if it is much.",
           class_="note") if rows else None,
    )  # fmt: skip


def time_split(facts: Facts) -> list[tuple[str, float]]:
    """(part, seconds) of the run's time, as far as its files tell."""
    result = facts.result
    seconds, wait = result.get("seconds"), result.get("data_wait")
    if not is_number(seconds) or not is_number(wait) or not result.get("steps"):
        return []
    waited = float(seconds) * float(wait)
    evals = [float(e["seconds"]) for e in facts.of_events("eval") if is_number(e.get("seconds"))]
    parts = [("waiting for data", waited), ("training steps", max(0.0, float(seconds) - waited))]
    return [*parts, ("evaluations", sum(evals))] if evals else parts
