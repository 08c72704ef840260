"""Which batch size? What fits, how fast it is, and how noisy the gradient is.

A batch far below the noise scale wastes steps, one far above it wastes pictures.

Source: McCandlish, Kaplan, Amodei et al. 2018, "An empirical model of large-batch training",
    sec. 2.2 and app. A.1: the simple noise scale tr(S) / |G|^2, by unbiased estimates of both.
Differs: estimated from the spread of the gradients of small batches, not from two batch sizes.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfer import plugs
from xfer.ask.answer import Answer, beats, confidence, rows_of, stands
from xfer.ask.question import MINUTES, Question, asking, labelled, rounded
from xfer.data.loading.halved import may_be_memory
from xfer.device import find_device
from xfer.errors import XferError
from xfer.train.job import Job
from xfer.train.step import train_step

FIRST, LAST = 4, 1024
SHARE, NOISE_SHARE = 0.3, 0.15  # of the budget, for throughput and for the noise scale
SMALL, MOST = 4, 48  # pictures in each gradient of the noise scale, and how many gradients
ENTRIES = 2_000_000  # of a gradient that are kept: a fixed draw, which leaves the ratio alone
ROOM = 0.8  # of the free memory that a batch may take
WORTH = 1.15  # how much faster training must be expected to be for a change to be worth a trial


@plugs.face("data", "task", "settings")
def batch(
    data: Any = "", *, budget: Any = MINUTES, task: str = "", recipe: str = "", out: Any = None,
    say: Callable[[str], None] = lambda _: None, trust: str | Sequence[str] = (), **settings: Any,
) -> Answer:  # fmt: skip
    """Whether another batch size than the recipe's trains faster or better, and with which rate.

    Args: as `xfer.ask.lr`.
    Returns: the `Answer`; "evidence" has "throughput" [{"batch", "images_per_second",
        "memory_mb"}], "noise_scale" {"pictures", "low", "high", "step"}, "largest", the largest
        batch that was seen to fit, and "short_runs".
    Raises: as `xfer.ask.lr`.
    """
    with asking(
        "batch", data, settings, task=task, recipe=recipe, budget=budget, out=out, say=say
    ) as q:
        return _answer(q)


def _answer(q: Question) -> Answer:
    own = q.base.data.batch
    rows = _throughput(q)
    noise = _noise(q)
    best, times = cheapest(rows, noise["pictures"])
    now = min(rows, key=lambda row: abs(row["batch"] - own))["batch"] if rows else own
    gain = times.get(now, 1.0) / times.get(best, 1.0) if times else 1.0
    rate = scaled_rate(q.base.optim.name, q.base.optim.lr, own, best)
    tried: list[dict[str, Any]] = []
    if best != own and gain >= WORTH:
        tried = [{"data.batch": best, "optim.lr": rate}]
    found = q.short_runs([{}, *tried]) if tried else None
    winner = beats(found) if found is not None else None
    evidence = {
        "throughput": rows, "noise_scale": noise,
        "largest": max((row["batch"] for row in rows), default=0),
        "rate_for": {"batch": best, "lr": rate} if tried else None,
        "expected_speedup": round(gain, 2),
        "short_runs": [] if found is None else rows_of(found),
    }  # fmt: skip
    scale = (f"the gradient's noise scale is about {noise['pictures']:.0f} pictures "
             f"({noise['low']:.0f} to {_end(noise['high'])})")  # fmt: skip
    if found is None:
        text = f"the recipe's batch, {own}, stands: {scale}, and no size trains much faster"
        sure = "medium: estimated from the noise scale and the throughput, without runs"
        return q.answer(text, sure, q.line(), **evidence)
    line = labelled(found.settings[1])
    if winner is not None:
        text = (f"a batch of {best} with a rate of {rate:g} is better than {own}: {found.primary} "
                f"{found.mean(1):.4f} against {found.mean(0):.4f}; {scale}")  # fmt: skip
        return q.answer(text, confidence(found, winner), q.line(*line), **evidence)
    one = found.against(1, 0)
    text = f"{stands(found, f'the batch of {own}')}; {scale}"
    if one is not None and one.low > -0.02:
        text = (f"a batch of {best} with a rate of {rate:g} scores the same within 2 points and is "
                f"expected to train {gain:.1f} times as fast; {scale}")  # fmt: skip
        return q.answer(text, confidence(found, None), q.line(*line), **evidence)
    return q.answer(text, confidence(found, None), q.line(), **evidence)


def _end(value: float | None) -> str:
    return "no upper end" if value is None else f"{value:.0f}"


def _throughput(q: Question) -> list[dict[str, Any]]:
    """Speed and peak memory of batches, doubled until they don't fit, the set is too small, or the
    time is up."""
    rows: list[dict[str, Any]] = []
    end = q.budget.spent + SHARE * q.budget.left
    pictures = len(q.bench.data(q.plain).splits["train"])
    size = FIRST
    while size <= min(LAST, pictures) and q.budget.spent < end:
        # a GPU says by itself when it is full
        if rows and find_device(q.base.run.device).type == "cpu" and not _fits(rows):
            q.notes.append(f"a batch of {size} would not fit into the memory that is free")
            break
        row = _measure(q, size, end)
        if row is None:
            q.notes.append(f"a batch of {size} does not fit into memory")
            break
        rows.append(row)
        q.say(f"batch {size}: {row['images_per_second']:.0f} pictures/s, {row['memory_mb']:.0f} MB")
        size *= 2
    if size <= min(LAST, pictures) and q.budget.spent >= end:
        q.notes.append(f"batches from {size} on were not measured, for lack of time")
    return rows


def _measure(q: Question, size: int, end: float) -> dict[str, Any] | None:
    """A row of the table of throughput; None if the batch does not fit."""
    try:
        with q.job(data__batch=size) as job, contextlib.closing(job.batches()) as batches:
            times: list[float] = []
            for k in range(4):
                step_batch = next(batches).to(job.place.device)
                begin = time.perf_counter()
                job.begin_step()
                train_step(job, step_batch)
                job.place.synchronise()
                if k:
                    times.append(time.perf_counter() - begin)
                if times and q.budget.spent > end:
                    break
            return {
                "batch": size, "images_per_second": round(size / min(times), 1),
                "memory_mb": round(job.place.peak_memory_mb(), 1),
            }  # fmt: skip
    except (XferError, RuntimeError, MemoryError) as error:
        text = str(error)
        if "out of memory" in text or may_be_memory(error):
            return None
        raise


def _fits(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether twice the last batch is expected to fit: its part of the memory doubles."""
    free = _free_mb()
    if free is None or len(rows) < 2:
        return True
    growth = max(rows[-1]["memory_mb"] - rows[-2]["memory_mb"], 0.0)
    return 2 * growth < ROOM * free


def _free_mb() -> float | None:
    """Memory that the system can still give, MB; None where that can't be read."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1024
    return None


def _noise(q: Question) -> dict[str, Any]:
    """The noise scale at the weights that a few steps have led to, with its interval."""
    end = q.budget.spent + NOISE_SHARE * q.budget.left
    with q.job(data__batch=SMALL) as job:
        products, step = _gradients(q, job, end)
    scale, low, high = noise_scale(products, SMALL)
    return {"pictures": round(scale, 1), "low": round(low, 1),
            "high": None if high is None else round(high, 1), "gradients": len(products),
            "step": step}  # fmt: skip


def _gradients(q: Question, job: Job, end: float) -> tuple[NDArray[np.float64], int]:
    """The inner products (M, M) of the gradients of M small batches, after some steps."""
    kept: list[torch.Tensor] = []
    with contextlib.closing(job.batches()) as batches:
        for _ in range(min(20, job.steps)):  # the head's first steps are all signal
            job.begin_step()
            train_step(job, next(batches).to(job.place.device))
            job.step += 1
            if q.budget.spent > end - NOISE_SHARE / 3 * q.budget.left:
                break
        parameters = [p for p in job.task.parameters() if p.requires_grad]
        total = sum(p.numel() for p in parameters)
        generator = torch.Generator().manual_seed(0)
        chosen = None
        if total > ENTRIES:
            chosen = torch.randint(total, (ENTRIES,), generator=generator)
        for _ in range(MOST):
            job.optimizer.zero_grad(set_to_none=True)
            losses = job.losses(next(batches).to(job.place.device))
            sum(losses.values(), torch.zeros((), device=job.place.device)).backward()
            flat = torch.cat([
                (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).cpu()
                for p in parameters
            ]).float()  # fmt: skip
            kept.append(flat if chosen is None else flat[chosen])
            if len(kept) >= 8 and q.budget.spent > end:
                break
    rows = torch.stack(kept)
    return (rows @ rows.T).double().numpy(), job.step


def noise_scale(
    products: NDArray[np.float64], size: int, draws: int = 500, seed: int = 0
) -> tuple[float, float, float | None]:
    """The simple noise scale, in pictures, and its 95 % interval by a jackknife of the logarithm;
    the upper end is None where the gradient can't be told from noise.

    Args: products: (M, M), inner products of the gradients of M batches of `size` pictures.
    """

    def estimate(table: NDArray[np.float64]) -> float:
        count = len(table)
        mean = float(table.mean())  # |mean gradient|^2
        spread = (float(np.trace(table)) - count * mean) / (count - 1)  # tr(S) / size
        signal = mean - spread / count  # unbiased |G|^2
        return size * spread / signal if signal > 0 else math.inf

    whole = estimate(products)
    count = len(products)
    left_out = [
        estimate(np.delete(np.delete(products, k, 0), k, 1)) for k in range(count)
    ]  # fmt: skip
    logs = np.log(np.maximum([v for v in left_out if math.isfinite(v)], 1e-9))
    if not math.isfinite(whole) or len(logs) < count:
        low = min((v for v in left_out if math.isfinite(v)), default=0.0)
        return (1e6 if not math.isfinite(whole) else whole), low, None
    spread = math.sqrt((count - 1) / count * float(((logs - logs.mean()) ** 2).sum()))
    return whole, whole * math.exp(-1.96 * spread), whole * math.exp(1.96 * spread)


def cheapest(rows: Sequence[dict[str, Any]], noise: float) -> tuple[int, dict[int, float]]:
    """The batch that reaches a given loss soonest, and each one's time, the fastest being 1: the
    steps fall as 1 + noise / batch (McCandlish 2018, eq. 2.11), a step takes batch / speed."""
    if not rows:
        return 0, {}
    times = {row["batch"]: (row["batch"] + noise) / row["images_per_second"] for row in rows}
    least = min(times.values())
    best = min(times, key=times.__getitem__)
    return best, {size: value / least for size, value in times.items()}


def scaled_rate(optimiser: str, rate: float, own: int, size: int) -> float:
    """The rate for another batch: by the square root for Adam's kin (Malladi et al. 2022), in
    proportion for SGD (Goyal et al. 2017)."""
    ratio = size / own
    return rounded(rate * (math.sqrt(ratio) if "adam" in optimiser.lower() else ratio))
