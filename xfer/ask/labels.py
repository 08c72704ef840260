"""What would more labelled pictures bring? A learning curve, and a power law fitted to it.

Source: Hestness et al. 2017, "Deep learning scaling is predictable, empirically": the error falls
    as a n^-b + c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import plugs
from xfer.ask.answer import Answer
from xfer.ask.features import check_labelled, features_of, fitted, last_map
from xfer.ask.question import MINUTES, Question, asking
from xfer.data.sources.base import subset
from xfer.errors import DataError
from xfer.probing.data import split_parts
from xfer.recipe.data import Ready
from xfer.recipe.tables import override
from xfer.trials.runner import FINISHED

SIZES, DRAWS = 8, 3
SHARE = 0.5  # of the budget that the probes may take
BOOTSTRAPS = 200
FINE_TUNED = (0.25, 0.5, 1.0)  # of the pictures
MOST_CLASSES = 5  # that the answer names


@plugs.face("data", "task", "settings")
def more_labels(
    data: Any = "", *, budget: Any = MINUTES, task: str = "", recipe: str = "", out: Any = None,
    say: Callable[[str], None] = lambda _: None, trust: str | Sequence[str] = (), **settings: Any,
) -> Answer:  # fmt: skip
    """How much twice the labelled pictures would bring, and for which classes.

    Args: as `xfer.ask.lr`.
    Returns: the `Answer`; "evidence" has "probes" [{"pictures", "top1", "deviation"}] of
        classifiers on frozen features of 8 parts of train, 3 draws each, "fine_tuned", the same of
        short runs, "law" {"a", "b", "c"}, "twice" {"now", "then", "low", "high"} and "classes".
    Raises: as `xfer.ask.lr`, and XferError for data without one label per picture.
    """
    with asking(
        "more-labels", data, settings, task=task, recipe=recipe, budget=budget, out=out, say=say
    ) as q:
        check_labelled(q.bench.data(q.plain), "more-labels")
        return _answer(q)


def _answer(q: Question) -> Answer:
    bundle = q.bench.data(q.plain)
    choice = last_map(q.base)
    parts = split_parts(features_of(q, choice), choice.layers[-1], bundle.name)
    train, val = parts["train"], parts["val"]
    sizes, rights = _probes(q, train, val, len(bundle.classes))
    errors = 1 - rights.mean(2)  # (sizes, draws)
    total = len(train.labels)
    law = power_law(sizes, errors.mean(1))
    now, then = at(law, total), at(law, 2 * total)
    low, high = _interval(sizes, rights, total)
    gain = now - then
    classes = _classes(sizes, rights, val.labels, bundle.classes, total)
    tuned = _fine_tuned(q)
    rows = [
        {"pictures": int(n), "top1": float(1 - e.mean()), "deviation": float(e.std(ddof=1))}
        for n, e in zip(sizes, errors, strict=True)
    ]
    evidence = {
        "probes": rows, "fine_tuned": tuned,
        "law": dict(zip("abc", map(float, law), strict=True)),
        "twice": {"now": 1 - now, "then": 1 - then, "gain": gain, "low": low, "high": high},
        "classes": classes,
    }  # fmt: skip
    most = [row["class"] for row in classes[:MOST_CLASSES] if row["gain"] > 0]
    where = f", most for {', '.join(most)}" if most and len(classes) > 2 else ""
    worth = "hardly anything" if high < 0.01 else f"about {100 * gain:.1f} points of top1"
    text = (f"twice the {total} training pictures would bring {worth} (95 % {100 * low:+.1f} to "
            f"{100 * high:+.1f}){where}, by classifiers on frozen features")  # fmt: skip
    if len(tuned) > 1:
        slope = tuned[-1]["score"] - tuned[-2]["score"]
        text += f"; the last doubling brought fine-tuning {100 * slope:+.1f}"
    wide = high - low
    level = "medium" if wide < 0.03 else "low"  # never high: it is beyond what was measured
    sure = (f"{level}: the gain lies between {100 * low:+.1f} and {100 * high:+.1f} points, if the "
            "curve goes on as a power law")  # fmt: skip
    line = q.line() if high < 0.01 else f"xfer data check {q.base.data.source}"
    return q.answer(text, sure, line, **evidence)


def _probes(
    q: Question, train: Any, val: Any, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Sizes (S,), and which val pictures are right: (S, DRAWS, N)."""
    end = q.budget.spent + SHARE * q.budget.left
    _, strength = fitted(train.features, train.labels, classes)
    orders = [stratified_order(train.labels, draw) for draw in range(DRAWS)]
    least = max(2 * len(np.unique(train.labels)), 8)
    total = len(train.labels)
    sizes = np.unique(np.geomspace(min(least, total // 2 or 1), total, SIZES).astype(int))
    rows: list[NDArray[np.bool_]] = []
    done: list[int] = []
    for size in sizes[::-1].tolist():  # the largest matter most
        draws: list[NDArray[np.bool_]] = []
        for order in orders:
            some = order[:size]
            if len(np.unique(train.labels[some])) < 2:
                continue
            probe, _ = fitted(train.features[some], train.labels[some], classes, strength)
            draws.append(probe.scores(val.features).argmax(1) == val.labels)
        if len(draws) == DRAWS:
            rows.insert(0, np.stack(draws))
            done.insert(0, size)
            q.say(f"{size} pictures: top1 {rows[0].mean():.4f}")
        if q.budget.spent > end and len(rows) > 3:
            q.notes.append("fewer sizes than 8, for lack of time")
            break
    if len(rows) < 2:
        raise DataError(f"{total} training pictures are too few for a learning curve")
    return np.array(done), np.stack(rows)


def stratified_order(labels: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """Indices in an order whose every beginning has all classes in about their proportions."""
    rng = np.random.default_rng((seed, 0x1ABE1))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        place[own] = (np.arange(len(own)) + rng.random(len(own))) / len(own)
    return np.argsort(place, kind="stable")


def power_law(sizes: Sequence[Any] | NDArray[Any], errors: Any) -> tuple[float, float, float]:
    """(a, b, c) of error = a n^-b + c with a and c above 0 and b in 0..2, by least squares over
    the three: c on a grid, then a line through the logarithms, weighted by the error left."""
    n, e = np.asarray(sizes, float), np.asarray(errors, float)
    best = (float(e[-1]), 0.0, 0.0)
    least = np.inf
    for c in np.linspace(0, max(float(e.min()) - 1e-3, 0.0), 21):
        rest = np.maximum(e - c, 1e-4)
        weight = rest / rest.max()  # of equal errors in e, not in its logarithm
        slope = np.polyfit(np.log(n), np.log(rest), 1, w=weight)[0]
        b = float(np.clip(-slope, 0.0, 2.0))
        scaled = n**-b
        a = float(max((scaled @ (e - c)) / (scaled @ scaled), 0.0))
        loss = float(((a * scaled + c - e) ** 2).sum())
        if loss < least:
            best, least = (a, b, float(c)), loss
    return best


def at(law: tuple[float, float, float], size: float) -> float:
    """The error that the power law predicts for this many pictures."""
    a, b, c = law
    return a * size**-b + c


def _interval(
    sizes: NDArray[np.int64], rights: NDArray[np.bool_], total: int
) -> tuple[float, float]:
    """The 95 % interval of the gain by twice the pictures: other val pictures, other draws."""
    rng = np.random.default_rng(0)
    count, draws = rights.shape[2], rights.shape[1]
    gains: list[float] = []
    for _ in range(BOOTSTRAPS):
        pictures = rng.integers(0, count, count)
        chosen = rng.integers(0, draws, (len(sizes), draws - 1))
        errors = [1 - rights[k][chosen[k]][:, pictures].mean() for k in range(len(sizes))]
        law = power_law(sizes, errors)
        gains.append(at(law, total) - at(law, 2 * total))
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(low), float(high)


def _classes(
    sizes: NDArray[np.int64], rights: NDArray[np.bool_], truth: NDArray[Any], names: Sequence[str],
    total: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """What twice the pictures would bring for each class, the most first."""
    rows: list[dict[str, Any]] = []
    for label in np.unique(truth):
        own = rights[:, :, truth == label]
        law = power_law(sizes, 1 - own.mean((1, 2)))
        rows.append({
            "class": names[int(label)], "now": 1 - at(law, total),
            "gain": at(law, total) - at(law, 2 * total), "val_pictures": int(own.shape[2]),
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["gain"])


def _fine_tuned(q: Question) -> list[dict[str, Any]]:
    """Short runs on parts of train, scored on all of val, as far as the budget reaches."""
    bundle = q.bench.data(q.plain)
    train = bundle.splits["train"]
    order = stratified_order(train.labels(), q.base.run.seed)
    step, evaluation = q.pace()
    steps = int((0.75 * q.budget.left / len(FINE_TUNED) - 3 * evaluation - 2) / max(step, 1e-6))
    if steps < 10:
        q.notes.append("no fine-tuning on parts of the pictures, for lack of time")
        return []
    full = q.plain.schedule
    own = full.steps or round(full.epochs * max(1, len(train) // q.plain.data.batch))
    steps = min(steps, max(own, full.min_steps))
    rows: list[dict[str, Any]] = []
    for share in FINE_TUNED:
        size = max(2, round(share * len(train)))
        part = train if share == 1 else subset(train, np.sort(order[:size]))
        ready = Ready(replace(bundle, splits={**bundle.splits, "train": part}))
        epochs = steps / max(1, size // q.plain.data.batch)
        recipe = replace(override(q.plain, {
            "schedule.steps": steps, "eval.every": max(1.0, epochs / 3),
        }), given=q.plain.given)  # fmt: skip
        done = q.bench.run(recipe, q.folder / f"pictures={size}", ready)
        if done.state != FINISHED or done.score is None:
            break
        q.count += 1
        rows.append({"pictures": size, "score": done.score, "steps": steps})
        q.say(f"fine-tuned on {size} pictures: {done.score:.4f}")
    return rows
