"""The last lines of a run: its score, why the last epoch had another one, and what comes next."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from xfer.recipe.tables import Recipe

SPLITS = (("val", ""), ("test", "test_"))  # split -> the beginning of its keys in result.json
# where what went wrong can be looked at, in a run's folder
_LOOK = ("report.html", "plots/worst.png", "predictions/val.csv")


def score_line(path: Path, result: Mapping[str, Any]) -> str:
    """One line: the scores with their intervals, the time, the steps and the folder."""
    primary, parts = result["primary"], list[str]()
    for split, before in SPLITS:
        value = result.get(f"{before}metrics", {}).get(primary)
        if value is not None:
            parts.append(f"{split} {primary} {value:.4f}{_ends(result.get(f'{before}interval'))}")
    steps = result["steps"]
    cost = f"{result['seconds']:.0f} s, {steps} step{'s' * (steps != 1)}"
    return f"{', '.join(parts) or 'trained'} ({cost}) in {path}"


def _ends(interval: Mapping[str, Any] | None) -> str:
    return f" [{interval['low']:.4f} to {interval['high']:.4f}]" if interval else ""


def closing_lines(
    path: Path, result: Mapping[str, Any], events: Sequence[Mapping[str, Any]], recipe: Recipe
) -> list[str]:
    """What the interval is, what the score is worth, why it is not that of the last epoch's line,
    where the pictures are that the model gets wrong. Lines without an answer are left out."""
    lines: list[str] = []
    interval = result.get("interval") or result.get("test_interval")
    if interval:
        lines.append(f"[low to high]: {interval['method']}")
    lines += worth(path, result)
    lines += _why(result, events, recipe)
    files = [name for name in _LOOK if (path / name).is_file()]
    if files:
        lines.append(f"what it gets wrong: {', '.join(files)} in {path}")
    return lines


def worth(path: Path, result: Mapping[str, Any]) -> list[str]:
    """What a model that has learnt nothing would score, and what suggests that this one has not,
    each with the command that looks into it. [] for tasks without one label per picture."""
    known: Mapping[str, Any] = result.get("baselines") or {}
    score = result.get("metrics", {}).get("top1")
    if not known or score is None:
        return []
    majority = known["majority"]
    beside = f"a majority vote (always {majority['class']}) scores {majority['score']:.4f}"
    if "centroid" in known:
        nearest = known["centroid"]["score"]
        beside += f", the nearest class mean of the frozen features {nearest:.4f}"
    lines = [f"{beside} on val"]
    ask = f"--recipe {shlex.quote(str(path / 'recipe.toml'))}"
    gain, ends = score - majority["score"], result.get("interval")
    loss, chance = result["metrics"].get("loss"), known["chance_loss"]
    if loss is not None and loss > 0.98 * chance:
        lines.append(
            f"warning: the loss on val, {loss:.3f}, is that of guessing ({chance:.3f}): the rate "
            f"may be far off: `xfer ask lr {ask}`"
        )
    if known["predicted_classes"] == 1 < known["true_classes"]:
        lines.append(
            f"warning: one class is predicted for all of val, of {known['true_classes']} that "
            f"occur: `xfer ask lr {ask}`"
        )
    elif gain <= 0:
        lines.append(
            f"warning: the model is no better than the majority vote: `xfer ask lr {ask}`, or "
            f"`xfer ask overfit {shlex.quote(str(path))}`"
        )
    elif ends is not None and ends["high"] - ends["low"] > gain:
        lines.append(
            f"warning: val is too small to tell: the interval of its score is wider than the gain "
            f"over the majority vote ({gain:.4f}): `xfer ask more-labels {ask}`"
        )
    return lines


def _why(
    result: Mapping[str, Any], events: Sequence[Mapping[str, Any]], recipe: Recipe
) -> list[str]:
    primary = result["primary"]
    scored = [event for event in events if event.get("event") == "eval"]
    value = result.get("metrics", {}).get(primary)
    last = scored[-1].get("metrics", {}).get(primary) if scored else None
    if value is None or last is None or f"{value:.4f}" == f"{last:.4f}":
        return []
    reasons: list[str] = []
    if result["best_step"] != scored[-1]["step"]:
        reasons.append(f"the weights are those of the best step, {result['best_step']}")
    tta = recipe.eval.tta
    quick = recipe.eval.while_training or tta
    if quick != tta:
        reasons.append(f"eval.tta={tta} scores them, eval.while_training={quick} the epochs")
    if not reasons:
        return []
    if recipe.optim.ema:
        reasons.append("both are of the moving average of the weights, optim.ema")
    return [f"the last epoch's line says {primary} {last:.4f}: {'; '.join(reasons)}"]


# what is done with a run next: the command, and what follows the run
_NEXT = (("predict", " PICTURE..."), ("report", ""), ("export", " --format onnx"))


def next_commands(path: Path, known: Collection[str]) -> list[str]:
    """Commands to go on with, each as it can be typed. Args: known: the commands that there are."""
    run = shlex.quote(str(path))
    return [f"xfer {name} {run}{rest}" for name, rest in _NEXT if name in known]
