"""Which stages to train? A probe on every layer, confirmed by short runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xfer import plugs
from xfer.ask.answer import Answer, beats, confidence, rows_of, stands
from xfer.ask.features import features_of, is_labelled, probed, trunk
from xfer.ask.question import MINUTES, Question, asking, labelled

SHARE = 0.4  # of the budget that the probes may take


@plugs.face("data", "task", "settings")
def freeze(
    data: Any = "", *, budget: Any = MINUTES, task: str = "", recipe: str = "", out: Any = None,
    say: Callable[[str], None] = lambda _: None, trust: str | Sequence[str] = (), **settings: Any,
) -> Answer:  # fmt: skip
    """Whether to train the whole net, its head alone, or from which stage on.

    Args: as `xfer.ask.lr`.
    Returns: the `Answer`; "evidence" has "probes" [{"layer", "width", score, "low", "high"}] of
        classifiers on each frozen layer, and "short_runs".
    Raises: as `xfer.ask.lr`.
    """
    with asking(
        "freeze", data, settings, task=task, recipe=recipe, budget=budget, out=out, say=say
    ) as q:
        return _answer(q)


def _answer(q: Question) -> Answer:
    probes = _probes(q)
    with q.job() as job:
        names = [stage.name for stage in job.task.stages() if stage.role == "trunk"]
    tried = candidates(names, probes, q.base.optim.freeze)
    found = q.short_runs([{}, *({"optim.freeze": name} for name in tried)])
    winner = beats(found)
    own = q.base.optim.freeze
    default = f"the recipe's freeze={own!r}" if own else "training every stage, the default,"
    evidence = {"probes": probes, "stages": names, "short_runs": rows_of(found)}
    if winner is None:
        parts = [stands(found, default), _as_good(found, tried), _best_layer(probes)]
        text = "; ".join(part for part in parts if part)
        return q.answer(text, confidence(found, None), q.line(), **evidence)
    best = found.settings[winner]
    text = (f"{best.name} is better than {default.rstrip(',')}: {found.primary} "
            f"{found.mean(winner):.4f} against {found.mean(0):.4f}")  # fmt: skip
    return q.answer(text, confidence(found, winner), q.line(*labelled(best)), **evidence)


def _best_layer(probes: Sequence[dict[str, Any]]) -> str:
    """What the best of the probes says, in words."""
    if not probes:
        return ""
    best = max(probes, key=lambda row: row["score"])
    return f"frozen, {best['layer']} reads best: {best['score']:.4f} with a linear classifier"


def _as_good(found: Any, tried: Sequence[str]) -> str:
    """A remark where training the head alone loses nothing that these runs can see."""
    if "all" not in tried:
        return ""
    number = 1 + list(tried).index("all")
    one = found.against(number, 0) if number in found.compared else None
    if one is None or one.low < -0.02:
        return ""
    return "the head alone (optim.freeze=all) is as good within 2 points, and far cheaper"


def candidates(names: Sequence[str], probes: Sequence[dict[str, Any]], own: str) -> list[str]:
    """Values of optim.freeze to compare with the recipe's: all; the stages before the layer that a
    probe reads best, whose features need no change; and the first half.

    Args: names: stages, shallow to deep.
    """
    wanted = ["all"]
    if len(names) > 2:
        best = max(probes, key=lambda row: row["score"])["layer"] if probes else ""
        place = next((k for k, name in enumerate(names) if name == best), None)
        if place is not None and 0 < place < len(names):
            wanted.append(names[place - 1])
        wanted.append(names[len(names) // 2 - 1])
    wanted.append("" if own else names[0] if names else "")
    return [name for name in dict.fromkeys(wanted) if name != own and (name or own)]


def _probes(q: Question) -> list[dict[str, Any]]:
    """A row per map of the net; [] where labels do not describe whole pictures."""
    bundle = q.bench.data(q.plain)
    if not is_labelled(bundle):
        q.notes.append("no probes: the labels are not of whole pictures")
        return []
    end = q.budget.spent + SHARE * q.budget.left
    table = features_of(q, trunk(q.base))
    rows: list[dict[str, Any]] = []
    for layer in reversed(list(table.layers)):
        rows.insert(0, {"layer": layer, **probed(table, layer, bundle.name)})
        q.say(f"probe on {layer}: {rows[0]['score']:.4f}")
        if q.budget.spent > end:
            q.notes.append("the shallower layers were not probed, for lack of time")
            break
    return rows
