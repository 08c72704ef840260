"""All questions in a sensible order within one budget, and one report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.ask.answer import FILE, Answer, tables
from xfer.ask.augmentations import augment
from xfer.ask.batches import batch
from xfer.ask.labels import more_labels
from xfer.ask.nets import backbone
from xfer.ask.question import MINUTES
from xfer.ask.rates import lr
from xfer.ask.stages import freeze
from xfer.errors import DataError, XferError
from xfer.files import write_text
from xfer.trials.budget import Budget

# the net first, since all else depends on it; what its runs need next; the data last. Of what is
# left of the budget, each may take its share
ORDER: Mapping[str, tuple[Callable[..., Answer], float]] = {
    "backbone": (backbone, 0.2),
    "lr": (lr, 0.25),
    "freeze": (freeze, 0.3),
    "augment": (augment, 0.45),
    "batch": (batch, 0.5),
    "more-labels": (more_labels, 1.0),
}
REPORT = "answers.md"


@plugs.face("data", "task", "settings")
def everything(
    data: Any = "", *, budget: Any = MINUTES, task: str = "", recipe: str = "", out: Any = None,
    say: Callable[[str], None] = lambda _: None, trust: str | Sequence[str] = (), **settings: Any,
) -> Answer:  # fmt: skip
    """Every question about these data within one budget, with one report, answers.md.

    Each question is asked about the recipe as it is: what one of them advises is not built into
    the next, so that each answer stands alone.

    Args: as `xfer.ask.lr`.
    Returns: the `Answer`; "evidence" has "answers" [{"question", "answer", "confidence", "next"}].
    Raises: as `xfer.ask.lr`.
    """
    clock = budget if isinstance(budget, Budget) else Budget(budget)
    root = Path(out) if out is not None else _folder()
    answers: list[Answer] = []
    notes: list[str] = []
    for name, (ask, share) in ORDER.items():
        minutes = max(share * clock.left / 60, 0.01)
        try:
            answers.append(ask(
                data, budget=minutes, task=task, recipe=recipe, out=root / name, say=say, **settings
            ))  # fmt: skip
        except DataError:
            raise
        except XferError as error:
            if "needs one label per picture" not in error.message:
                raise
            notes.append(f"{name}: {error.message}")
    rows = [
        {key: one[key] for key in ("question", "answer", "confidence", "next")} for one in answers
    ]
    advised = [row for row in rows if "stands" not in row["answer"]]
    text = " ".join(f"{row['question']}: {row['answer']}." for row in rows)
    levels = [row["confidence"].partition(":")[0] for row in rows]
    answer = Answer(
        question="everything", answer=text, evidence={"answers": rows},
        confidence=", ".join(
            f"{row['question']} {level}" for row, level in zip(rows, levels, strict=True)
        ),
        next=(advised or rows)[0]["next"], seconds=round(clock.spent, 1),
        budget_minutes=clock.minutes, runs=sum(one["runs"] for one in answers), folder=str(root),
        data=answers[0]["data"], backbone=answers[0]["backbone"], notes=notes,
    )  # fmt: skip
    write_text(root / FILE, json.dumps(answer, indent=1, ensure_ascii=False) + "\n")
    write_text(root / REPORT, report(answers, answer))
    return answer


def _folder() -> Path:
    number = 1
    while (path := Path("runs") / f"ask-everything-{number}").exists():
        number += 1
    return path


def report(answers: Sequence[Answer], whole: Answer) -> str:
    """The answers with their evidence, as Markdown."""
    lines = [f"# Answers about {whole['data']} with {whole['backbone']}", ""]
    cost = f"{whole['seconds']:.0f} s, {whole['runs']} short runs"
    lines += [f"{cost}; the test split was not looked at.", ""]
    for one in answers:
        lines += [f"## {one['question']}", "", one["answer"], "",
                  f"Confidence: {one['confidence']}", "", f"    {one['next']}", ""]  # fmt: skip
        for name, rows in tables(one):
            if name == "range_test":  # a row per step: its proposal is in the answer's runs
                continue
            keys = list(dict.fromkeys(key for row in rows for key in row))
            lines += [name.replace("_", " "), "", f"| {' | '.join(keys)} |",
                      f"|{' --- |' * len(keys)}"]  # fmt: skip
            lines += [f"| {' | '.join(_cell(row.get(key)) for key in keys)} |" for row in rows[:40]]
            lines.append("")
        lines += [f"Note: {note}." for note in one["notes"]] + [""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
