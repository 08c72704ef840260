"""A finished or unfinished run as it shows itself in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xfer.notebook import course
from xfer.notebook.card import calls, card, score, soft
from xfer.report.markup import Markup, el, join, number

SPLITS = (("val", "metrics", "interval"), ("test", "test_metrics", "test_interval"))


def run_card(
    path: Path, result: Mapping[str, Any], events: Sequence[dict[str, Any]], *more: Markup
) -> str:
    """The card of a run: its scores with their intervals, its course, and what can be asked of it.

    Args: result: result.json's content, {} after a dry run; events: of its log; more: below that.
    """
    if not result:
        return card("A dry run", soft("One training batch, one evaluation batch and one save went "
                                      "well; nothing is kept."))  # fmt: skip
    train = [e for e in events if e.get("event") == "train"]
    evals = [e for e in events if e.get("event") == "eval"]
    primary, best = str(result.get("primary", "")), result.get("best_step")
    parts = [
        *scores(result),
        soft(cost(result), "; in ", el("code", str(path))),
        course.curves(train, evals, primary),
        course.epochs(train, evals, primary, best),
        *more,
        calls("Next:", "run.errors()", "run.predict(pictures)", "run.history", "run.report()",
              'run.export("onnx")'),
    ]  # fmt: skip
    return card(title(result), *parts)


def title(result: Mapping[str, Any]) -> str:
    """What was trained on what, in a few words."""
    words = [str(result.get(key) or "") for key in ("task", "backbone", "data")]
    return " · ".join(word for word in words if word)


def scores(result: Mapping[str, Any]) -> list[Markup]:
    """The main scores with their intervals, in large type."""
    primary = str(result.get("primary", ""))
    return [
        score(result[key][primary], f"{primary} on {split}", result.get(interval))
        for split, key, interval in SPLITS
        if (result.get(key) or {}).get(primary) is not None
    ]


def cost(result: Mapping[str, Any]) -> str:
    """What the run took, in a line."""
    words: list[str] = []
    if result.get("steps"):
        words.append(f"{number(int(result['steps']))} steps")
        if result.get("best_step") not in (None, result["steps"]):
            words.append(f"the weights of step {number(int(result['best_step']))} are kept")
    if result.get("seconds") is not None:
        words.append(duration(float(result["seconds"])))
    if result.get("images_per_second"):
        words.append(f"{result['images_per_second']:.0f} pictures per second")
    return ", ".join(words)


def duration(seconds: float) -> str:
    """Seconds as people say them: 8 s, 3:05 min, 2:10:00 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def run_line(path: Path, result: Mapping[str, Any]) -> str:
    """The run in a line, as `repr` shows it."""
    if not result:
        return "<run: dry run done>"
    primary = str(result.get("primary", ""))
    parts: list[str] = []
    for split, key, interval in SPLITS:
        value = (result.get(key) or {}).get(primary)
        if value is not None:
            ends = result.get(interval)
            between = f" ({ends['low']:.4f} to {ends['high']:.4f})" if ends else ""
            parts.append(f"{split} {primary} {value:.4f}{between}")
    return f"<run {path}: {', '.join([*parts, cost(result)])}>"


def progress_card(
    head: str, state: Any, share: float, curves: Markup | None, epochs: Markup | None,
    warnings: Sequence[str], notes: Sequence[str],
) -> str:  # fmt: skip
    """The card of a training that runs. Args: share: how much of it is done, 0..1."""
    bar = el("div", el("span", style=f"width:{100 * min(1.0, max(0.0, share)):.1f}%"),
             class_="bar", role="progressbar", aria_valuenow=round(100 * share))  # fmt: skip
    return card(head, el("p", state), bar, curves, epochs, *remarks(warnings, notes))


def remarks(warnings: Sequence[str], notes: Sequence[str]) -> list[Markup]:
    """What was warned of, and, folded away, how data and weights were read."""
    parts = [el("p", text, class_="warn") for text in warnings]
    if notes:
        lines = join(*(el("pre", note) for note in notes))
        parts.append(el("details", el("summary", "Data, weights, device"), lines))
    return parts
