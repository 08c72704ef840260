"""Which net? Those whose weights are at hand, ranked by probes, the best three fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from xfer import plugs
from xfer.ask.answer import Answer, beats, confidence, rows_of, stands
from xfer.ask.features import check_labelled, cost_of, features_of, fitted, last_map, log_me
from xfer.ask.question import MINUTES, Question, asking, labelled
from xfer.backbones.base import backbones as registry
from xfer.backbones.published import at_hand
from xfer.drawing.net_costs import cost_picture
from xfer.errors import XferError
from xfer.probing.data import split_parts
from xfer.recipe.choose import check
from xfer.recipe.tables import Recipe, override

PICTURE = "nets.png"
SHARE = 0.5  # of the budget that ranking may take
TUNED = 3  # nets that are fine-tuned
SIMILAR = ("timm", "torchvision")  # hundreds of nets: only those that the user names


@plugs.face("data", "task", "settings")
def backbone(
    data: Any = "", *, nets: Sequence[str] = (), budget: Any = MINUTES, task: str = "",
    recipe: str = "", out: Any = None, say: Callable[[str], None] = lambda _: None,
    trust: str | Sequence[str] = (), **settings: Any,
) -> Answer:  # fmt: skip
    """Which of the nets whose weights are at hand is best on these data, and what each costs.

    Args:
        nets: names, or NAME=WEIGHTS; by default the recipe's own and all of xfer's whose published
            weights are on this machine already: nothing is fetched.
        others: as `xfer.ask.lr`.

    Returns: the `Answer`; "evidence" has "nets" [{"backbone", "weights", "val", "cross_validated",
        "log_me", "ms_per_picture", "mb"}], the best first, and "short_runs" of the best three;
        nets.png draws scores over costs.
    Raises: as `xfer.ask.more_labels`.
    """
    with asking(
        "backbone", data, settings, task=task, recipe=recipe, budget=budget, out=out, say=say
    ) as q:
        check_labelled(q.bench.data(q.plain), "backbone")
        return _answer(q, nets)


def _answer(q: Question, nets: Sequence[str]) -> Answer:
    rows = _ranked(q, candidates(q.base, nets))
    own = (q.base.backbone, q.base.weights)
    chosen = [(row["backbone"], row["weights"]) for row in rows[:TUNED]]
    tried = [
        {"backbone": net, "weights": weights} for net, weights in chosen if (net, weights) != own
    ]
    found = q.short_runs([{}, *tried]) if tried else None
    try:
        cost_picture(rows, q.folder / PICTURE)
    except Exception as error:
        q.notes.append(f"{PICTURE} could not be drawn: {type(error).__name__}: {error}")
    evidence = {"nets": rows, "short_runs": [] if found is None else rows_of(found),
                "picture": PICTURE}  # fmt: skip
    if found is None:
        text = (f"{own[0]} is the only net whose weights are at hand: a classifier on its frozen "
                f"features scores {rows[0]['val']:.4f}; --nets NAME=FILE names others")  # fmt: skip
        return q.answer(text, "low: there is nothing to compare it with", q.line(), **evidence)
    winner = beats(found)
    if winner is None:
        text = stands(found, f"{own[0]}, the recipe's net,")
        return q.answer(text, confidence(found, None), q.line(), **evidence)
    best = found.settings[winner]
    row = next(r for r in rows if r["backbone"] == best.values["backbone"])
    text = (f"{best.name} is better than {own[0]}: {found.primary} {found.mean(winner):.4f} "
            f"against {found.mean(0):.4f}, at {row['ms_per_picture']:.1f} ms per picture and "
            f"{row['mb']:.0f} MB")  # fmt: skip
    return q.answer(text, confidence(found, winner), q.line(*labelled(best)), **evidence)


def candidates(base: Recipe, nets: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Nets and weights to compare, the recipe's own first.

    Args: nets: NAME or NAME=WEIGHTS; empty: all of xfer's own whose published weights are here.
    """
    found = [(base.backbone, base.weights)]
    for text in nets:
        name, _, weights = text.partition("=")
        if not name:
            raise XferError(f"--nets {text!r}: no name of a net", "--nets alexnet,resnet18=FILE")
        check(override(base, {"backbone": name, "weights": weights or "imagenet"}))
        found.append((name, weights or "imagenet"))
    if not nets:
        names = [name for name in registry.names() if name.partition(":")[0] not in SIMILAR]
        found += [(name, "imagenet") for name in names if at_hand(name)]
    return list(dict.fromkeys(found))


def _ranked(q: Question, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A row per net, the best first, as far as the budget reaches."""
    bundle = q.bench.data(q.plain)
    end = q.budget.spent + SHARE * q.budget.left
    rows: list[dict[str, Any]] = []
    for net, weights in pairs:
        if rows and q.budget.spent > end:
            q.notes.append(f"not ranked, for lack of time: {net}")
            continue
        own = override(q.base, {"backbone": net, "weights": weights})
        choice = last_map(replace(own, given=q.base.given))
        parts = split_parts(features_of(q, choice), choice.layers[-1], bundle.name)
        train, val = parts["train"], parts["val"]
        probe, strength = fitted(train.features, train.labels, len(bundle.classes))
        right = probe.scores(val.features).argmax(1) == val.labels
        rows.append({
            "backbone": net, "weights": weights, "val": float(right.mean()),
            "cross_validated": strength.score, "log_me": log_me(train.features, train.labels),
            **cost_of(choice),
        })  # fmt: skip
        q.say(f"{net}: probe {rows[-1]['val']:.4f}, LogME {rows[-1]['log_me']:.3f}, "
              f"{rows[-1]['ms_per_picture']:.1f} ms per picture")  # fmt: skip
    # by cross-validation on train: val is left for the comparison of fine-tuned nets
    return sorted(rows, key=lambda row: -(row["cross_validated"] or 0.0))
