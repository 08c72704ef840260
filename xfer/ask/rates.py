"""Which learning rate? A range test on real steps, and short runs around its proposal.

The steepest slope of loss against rate alone misleads: it says nothing of how training ends. It
only chooses what the short runs compare with the recipe's own rate.

Source: Smith 2017, "Cyclical learning rates for training neural networks", sec. 3.3.
Differs: one step per rate, at equal ratios, and the loss is averaged over neighbouring rates.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xfer import plugs
from xfer.ask.answer import Answer, beats, confidence, rows_of, stands
from xfer.ask.question import MINUTES, Question, asking, geometric, labelled, rounded
from xfer.errors import DivergedError
from xfer.train.optim import set_rate
from xfer.train.step import train_step

MOST, FEWEST = 80, 10  # steps of the test
BELOW, ABOVE = 1 / 30, 100.0  # of the recipe's rate, where the test begins and ends
FAR = 5.0  # times the recipe's rate that the test must have reached to be believed
WINDOW = 0.1  # of the steps that the loss is averaged over
WORSE = 1.1  # a loss this many times the first one is useless
SHARE = 0.15  # of the budget that the test may take
APART = 1.5  # rates closer than this to the default are not worth runs of their own


@plugs.face("data", "task", "settings")
def lr(
    data: Any = "", *, budget: Any = MINUTES, task: str = "", recipe: str = "", out: Any = None,
    say: Callable[[str], None] = lambda _: None, trust: str | Sequence[str] = (), **settings: Any,
) -> Answer:  # fmt: skip
    """Whether another learning rate than the recipe's is better on these data.

    Args:
        data, task, recipe, settings, trust: as in `xfer.finetune`.
        budget: minutes; out: a folder for its runs, runs/ask-lr-... by default.
        say: called with lines about the progress.

    Returns: the `Answer`; "evidence" has "range_test" [{"lr", "loss"}] and "short_runs".
    Raises: as `finetune`, and XferError for data without a val split.
    """
    with asking(
        "lr", data, settings, task=task, recipe=recipe, budget=budget, out=out, say=say
    ) as q:
        return _answer(q)


def _answer(q: Question) -> Answer:
    default, curve = _range_test(q)
    proposal, highest = propose([row["lr"] for row in curve], [row["loss"] for row in curve])
    if not curve or max(row["lr"] for row in curve) < FAR * default:
        proposal, highest = default, 100 * default
        q.notes.append("the range test was too short for a proposal: it is the recipe's own rate")
    q.say(f"range test: steepest at {proposal:.2g}, useless from {highest:.2g} on; the recipe has "
          f"{default:.2g}")  # fmt: skip
    rates = [rounded(proposal * factor) for factor in (1.0, 3.0, 1 / 3)]
    away = [
        r for r in dict.fromkeys(rates) if max(r / default, default / r) >= APART and r < highest
    ]
    found = q.short_runs([{}, *({"optim.lr": rate} for rate in away)])
    winner = beats(found)
    evidence = {
        "range_test": curve, "proposal": proposal, "default": default, "short_runs": rows_of(found),
    }  # fmt: skip
    sure = confidence(found, winner)
    if winner is None:
        text = stands(found, f"the recipe's rate, {default:.2g},") if away else (
            f"the recipe's rate, {default:.2g}, stands: the range test proposes the same"
        )  # fmt: skip
        return q.answer(text, sure, q.line(), **evidence)
    best = found.settings[winner]
    text = (f"a rate of {best.values['optim.lr']:g} is better than the recipe's {default:.2g}: "
            f"{found.primary} {found.mean(winner):.4f} against {found.mean(0):.4f}")  # fmt: skip
    return q.answer(text, sure, q.line(*labelled(best)), **evidence)


def _range_test(q: Question) -> tuple[float, list[dict[str, float]]]:
    """The recipe's peak rate, and the loss at rising rates, until it explodes."""
    rows: list[dict[str, float]] = []
    pace = q.pace()[0]
    with q.job() as job, contextlib.closing(job.batches()) as batches:
        default, room = job.peak_lr, SHARE * q.budget.left
        end = time.monotonic() + 3 * room
        steps = int(min(MOST, max(FEWEST, room / max(pace, 1e-6))))
        job.begin_step()
        for rate in geometric(default * BELOW, default * ABOVE, steps):
            set_rate(job.optimizer, rate)
            try:
                losses = train_step(job, next(batches).to(job.place.device))
            except DivergedError:
                break
            loss = float(sum(float(value) for value in losses.values()))
            if not math.isfinite(loss):
                break
            rows.append({"lr": rate, "loss": loss})
            if time.monotonic() > end or loss > 4 * rows[0]["loss"]:
                break
    return default, rows


def propose(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, float]:
    """The rate at which the smoothed loss falls the most per step of the logarithm, and the one
    from which on it is worse than at first.

    Args: rates: rising; losses: of a step at each.
    """
    if len(rates) < 4:
        return (rates[len(rates) // 2], rates[-1]) if rates else (1e-3, 1.0)
    # a mean over neighbours: an average of the past would shift the curve to higher rates
    reach = max(1, round(WINDOW * len(losses) / 2))
    values = np.array([
        float(np.mean(losses[max(0, k - reach) : k + reach + 1])) for k in range(len(losses))
    ])  # fmt: skip
    lowest = int(values.argmin())
    slope = np.gradient(values, np.log(np.array(rates)))
    steepest = int(slope[: max(2, lowest + 1)].argmin())
    worse = np.flatnonzero(values[lowest:] > WORSE * values[0])
    highest = rates[lowest + int(worse[0])] if len(worse) else 10 * rates[-1]
    return float(rates[steepest]), float(highest)
