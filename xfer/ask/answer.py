"""An answer: what was found, how sure it is, what it cost, and the line to type next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from xfer.files import write_text
from xfer.metrics.paired_groups import Difference
from xfer.notebook.card import card, grid, soft
from xfer.notebook.results import Result, apart
from xfer.report.markup import Markup, el
from xfer.trials.standing import Standing

FILE = "answer.json"


class Answer(Result):
    """What a question of `xfer.ask` returns: a dict that shows itself.

    question, answer | which, and the answer in a sentence or two
    evidence   | what it rests on: tables by name, each a list of rows
    confidence | high, medium or low, and why
    next       | the line to type
    seconds, folder, runs | what it cost, where its runs are, and how many
    notes      | what else there is to know
    """

    def _words(self) -> str:
        return f"{self.get('question', '')}: {self.get('answer', '')}"

    def _repr_html_(self) -> str:
        parts: list[Markup] = [soft(f"confidence: {self.get('confidence', '')}")]
        for name, rows in tables(self):
            parts.append(grid(rows, name.replace("_", " "), max_rows=40))
        parts += [soft(note) for note in self.get("notes", ())]
        return card(self._words(), *parts, el("p", el("code", str(self.get("next", "")))))


def tables(answer: Mapping[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The evidence that is a table, as rows for people."""
    found: list[tuple[str, list[dict[str, Any]]]] = []
    for name, rows in (answer.get("evidence") or {}).items():
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            found.append((name, [_shown(row) for row in rows]))
    return found


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in row.items() if not isinstance(value, (list, dict))}
    if "minus_default" in row:
        shown["minus_default"] = apart(row["minus_default"])
    return shown


def write_answer(answer: Answer) -> Answer:
    """Writes answer.json into the answer's folder."""
    from pathlib import Path

    write_text(
        Path(answer["folder"]) / FILE, json.dumps(answer, indent=1, ensure_ascii=False) + "\n"
    )
    return answer


def rows_of(found: Standing, reference: int = 0) -> list[dict[str, Any]]:
    """The settings of short runs as evidence: their mean score, its deviation, and how far they are
    from the reference, the default."""
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(found.rows()):
        one = found.against(number, reference) if number != reference else None
        rows.append({
            "setting": found.settings[number].name, found.primary or "score": row["mean"],
            "deviation": row["deviation"], "runs": row["n"],
            "minus_default": None if one is None else one.document(),
        })  # fmt: skip
        if "diverged" in row:
            rows[-1]["diverged"] = row["diverged"]
    return rows


def beats(found: Standing, reference: int = 0) -> int | None:
    """The setting with the highest mean of those that are better than the reference beyond chance;
    None: no setting does, so the reference stands."""
    better = [n for n in found.compared if n != reference and _better(found, n, reference)]
    return max(better, key=lambda n: found.mean(n) or 0.0, default=None)


def _better(found: Standing, number: int, reference: int) -> bool:
    one = found.against(number, reference)
    return one is not None and one.difference > 0 and one.beyond_chance


def confidence(found: Standing, number: int | None, reference: int = 0) -> str:
    """How sure it is that a setting beats the reference, or, for None, that the reference stands:
    high, medium or low, with the interval that says so."""
    if reference not in found.compared or len(found.compared) < 2:
        return "low: too few of the short runs are finished to compare them"
    others = [n for n in found.compared if n != reference]
    if number is None:
        number = max(others, key=lambda n: found.mean(n) or 0.0)
        one = found.against(number, reference)
        if one is None:
            return "low: the runs have no counts per picture to compare by"
        room = max(one.high, 0.0)
        level = "high" if room < 0.01 else "medium" if room < 0.03 else "low"
        if one.seeds < 2:
            level = "low"
        return (f"{level}: the best of the others, {found.settings[number].name}, is between "
                f"{_ends(one)} points from it, with {one.seeds} seed{'s' * (one.seeds > 1)} of "
                f"short runs and {one.pictures} val pictures")  # fmt: skip
    one = found.against(number, reference)
    assert one is not None
    level = "high" if one.p_holm < 0.01 else "medium"
    return (f"{level}: between {_ends(one)} points better than the default, p = {one.p_holm:.2g} "
            f"by Holm; {one.seeds} seeds of short runs, {one.pictures} val pictures")  # fmt: skip


def _ends(one: Difference) -> str:
    return f"{100 * one.low:+.1f} and {100 * one.high:+.1f}"


def stands(found: Standing, what: str, reference: int = 0) -> str:
    """The sentence for a default that nothing beats. Args: what: the default, in words."""
    others = [n for n in found.compared if n != reference]
    own = found.mean(reference)
    if not found.compared or not others or own is None:
        return f"{what} stands: the budget was too short to compare it with others"
    number = max(others, key=lambda n: found.mean(n) or 0.0)
    mean = found.mean(number) or 0.0
    return (f"{what} stands: nothing beats it beyond chance ({found.primary} {own:.4f}; the best "
            f"other, {found.settings[number].name}, {mean:.4f})")  # fmt: skip


def first_of(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
