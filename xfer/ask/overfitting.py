"""Does a run overfit, and what helps? Its curves, the gap without augmentation, and short runs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.ask.answer import Answer, beats, confidence, first_of, rows_of, stands
from xfer.ask.features import features_of, is_labelled, last_map
from xfer.ask.question import MINUTES, Question, asked, labelled
from xfer.doctor.suspects import find_suspects
from xfer.errors import XferError
from xfer.inference.evaluate import evaluate
from xfer.runs.folder import Run
from xfer.trials.budget import Budget

GAP = 0.1  # between train and val, in the score; a smaller one is what any training leaves
MOST_SUSPECTS = 10


@plugs.face()
def overfit(
    run: Any, *, budget: Any = MINUTES, out: Any = None,
    say: Callable[[str], None] = lambda _: None, trust: str | Sequence[str] = (),
) -> Answer:  # fmt: skip
    """Whether a finished run overfits, why, and what helps.

    Args:
        run: its folder; the others as in `xfer.ask.lr`.

    Returns: the `Answer`; "evidence" has "gap" {"train", "val", "gap"}: the score on the training
        pictures as they are, without augmentation, beside that on val; "curves" [{"step", "loss",
        score}], "label_suspects", "capacity" and "short_runs".
    Raises: XferError for a folder without a finished run, or a run without a val split; DataError
        if its data or weights are gone.
    """
    clock = budget if isinstance(budget, Budget) else Budget(budget)
    folder = Path(run)
    known = Run.open(folder)
    if not known.finished:
        raise XferError(
            f"{folder}: the run is not finished",
            f"xfer finetune --resume {shlex.quote(str(folder))}",
        )
    result = known.read_json("result.json")
    if not result.get("metrics"):
        raise XferError(f"{folder}: it was not scored on val, so there is nothing to compare with")
    told = shlex.join(["--recipe", str(folder / "recipe.toml")])
    with asked("overfit", known.recipe(), None, clock, out, say, told) as q:
        return _answer(q, known, result)


def _answer(q: Question, run: Run, result: Mapping[str, Any]) -> Answer:
    primary = str(result["primary"])
    gap = _gap(q, run, primary)
    curves = _curves(run.events(), primary)
    suspects = _suspects(q)
    capacity = _capacity(q)
    tried = remedies(q)
    found = q.short_runs([{}, *tried])
    winner = beats(found)
    evidence = {
        "gap": gap, "curves": curves, "best_step": result.get("best_step"),
        "label_suspects": suspects, "capacity": capacity, "short_runs": rows_of(found),
    }  # fmt: skip
    text = verdict_of(gap, curves, primary)
    if suspects["count"]:
        text += (f"; {suspects['count']} labels are doubtful ({first_of(suspects['pictures'])}): "
                 f"`xfer data check` lists them")  # fmt: skip
    if winner is None:
        if len(found.compared) < 2:
            text += ". Nothing was tried against it: the budget was too short"
        else:
            text += f". {stands(found, 'The recipe')}"
        return q.answer(text, confidence(found, None), q.line(), **evidence)
    best = found.settings[winner]
    text += (f". {best.name} helps: {found.primary} {found.mean(winner):.4f} against "
             f"{found.mean(0):.4f}")  # fmt: skip
    return q.answer(text, confidence(found, winner), q.line(*labelled(best)), **evidence)


def verdict_of(
    gap: Mapping[str, Any],
    curves: Sequence[Mapping[str, Any]],
    primary: str,
) -> str:
    """Whether it overfits, in words."""
    falls = [row for row in curves if row.get("val_loss") is not None]
    late = ""
    if len(falls) > 2:
        lowest = min(falls, key=lambda row: row["val_loss"])
        rise = falls[-1]["val_loss"] - lowest["val_loss"]
        if lowest is not falls[-1] and rise > 0.1 * lowest["val_loss"]:
            late = (f", and the loss on val rises by {rise:.2f} after step {lowest['step']}: fewer "
                    "epochs, or schedule.stop_after")  # fmt: skip
    if gap["train"] is None:
        return (
            f"the score on the training pictures is not known; val {primary} {gap['val']:.4f}{late}"
        )
    scores = f"{primary} {gap['train']:.4f} on train, {gap['val']:.4f} on val"
    if gap["gap"] > GAP or late:
        return f"it overfits: {scores}{late}"
    return f"it hardly overfits: {scores}"


def _gap(q: Question, run: Run, primary: str) -> dict[str, Any]:
    """The score on the training pictures without augmentation, beside that on val, in one view."""
    found: dict[str, float | None] = {}
    for split in ("train", "val"):
        scored = evaluate(run.path, split=split, tta="none", device=q.base.run.device,
                          say=lambda _: None)  # fmt: skip
        value = scored["metrics"].get(primary)
        found[split] = None if value is None else float(value)
        q.say(f"{split}, as it is: {primary} {found[split]}")
    known = found["train"] is not None and found["val"] is not None
    gap = (found["train"] or 0.0) - (found["val"] or 0.0) if known else None
    return {**found, "gap": gap, "views": "one view of each picture, without augmentation"}


def _curves(events: Sequence[Mapping[str, Any]], primary: str) -> list[dict[str, Any]]:
    """The training loss and the scores on val at each evaluation."""
    rows: list[dict[str, Any]] = []
    losses: list[float] = []
    for event in events:
        if event.get("event") == "train" and event.get("loss") is not None:
            losses.append(float(event["loss"]))
        if event.get("event") == "eval":
            metrics = event.get("metrics") or {}
            rows.append({
                "step": event.get("step"),
                "train_loss": math.fsum(losses) / len(losses) if losses else None,
                "val_loss": metrics.get("loss"), primary: metrics.get(primary),
            })  # fmt: skip
            losses = []
    return rows


def _suspects(q: Question) -> dict[str, Any]:
    """Labels of train that a classifier on frozen features doubts."""
    bundle = q.bench.data(q.plain)
    if not is_labelled(bundle):
        return {"count": 0, "pictures": []}
    choice = last_map(q.base)
    table = features_of(q, choice)
    rows = (table.splits == "train") & (table.y >= 0)
    features, labels = table.layers[choice.layers[-1]][rows], table.y[rows]
    found = find_suspects(features, labels)
    ids = table.ids[rows]
    names = [f"{ids[s.index]}, rather {bundle.classes[s.likely]}" for s in found[:MOST_SUSPECTS]]
    return {"count": len(found), "pictures": names}


def _capacity(q: Question) -> list[dict[str, Any]]:
    """What each stage has to learn with: parameters beside the training pictures."""
    pictures = len(q.bench.data(q.plain).splits["train"])
    with q.job() as job:
        return [
            {"stage": group.name, "parameters": group.count,
             "per_picture": round(group.count / max(1, pictures), 1)}
            for group in job.groups
        ]  # fmt: skip


def remedies(q: Question) -> list[dict[str, Any]]:
    """What is tried against overfitting: more augmentation, more decay, freezing, a shorter run."""
    own = q.base
    found: list[dict[str, Any]] = []
    if own.data.augment != "strong":
        found.append({"data.augment": "strong"})
    if own.optim.freeze != "all":
        with q.job() as job:
            names = [stage.name for stage in job.task.stages() if stage.role == "trunk"]
        if len(names) > 1:
            found.append({"optim.freeze": names[(len(names) - 1) // 2]})
        else:
            found.append({"optim.freeze": "all"})
    if own.optim.weight_decay:
        found.append({"optim.weight_decay": own.optim.weight_decay * 4})
    return found
