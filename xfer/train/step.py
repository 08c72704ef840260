"""One optimiser step: accumulation, loss scaling, clipping, and advice on running out of memory."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from xfer.data.loading.halved import free_memory, is_out_of_memory, may_be_memory
from xfer.errors import DivergedError, XferError
from xfer.runs.folder import Run
from xfer.train.compiled import is_compiler_error, is_order_error
from xfer.train.job import Job
from xfer.types import Batch

# torch's error for a batch norm or instance norm
_ONE_VALUE = "Expected more than 1 "


def train_step(job: Job, batch: Batch) -> dict[str, Tensor]:
    """One optimiser step on this process's share of a batch; its losses, detached."""
    try:
        return _train_step(job, batch)
    except Exception as error:
        if is_compiler_error(error):
            first = str(error).strip().splitlines()[0]
            raise XferError(
                f"torch.compile failed: {first}", "leave out run.compile, or install a C++ compiler"
            ) from error
        if is_order_error(error):
            first = str(error).strip().splitlines()[0]
            raise XferError(
                f"run.deterministic=true, but this model can't give equal bits on a GPU: {first}",
                "run.deterministic=false",
            ) from error
        if _ONE_VALUE in str(error):
            raise XferError(
                f"with a batch of {job.recipe.data.batch} and pictures this small, a layer that "
                "normalises over the batch has one value only",
                "--batch 2 or more (a share of 2 for each process and part), or a larger data.size",
            ) from error
        if not may_be_memory(error):
            raise
        certain, words = is_out_of_memory(error), " ".join(str(error).split())[:300]
    # outside the except clause, so that the failed pass's tensors have been freed
    fitting = _what_fits(job, batch)
    if not (certain or fitting):  # then it fails with any batch
        raise RuntimeError(words)
    nothing = "not even one picture fits: a smaller --backbone or data.size"
    raise XferError(f"out of memory with a batch of {job.recipe.data.batch}", fitting or nothing)


def _train_step(job: Job, batch: Batch) -> dict[str, Tensor]:
    place, table = job.place, job.recipe.optim
    parts = min(table.accumulate, len(batch))
    cuts = [len(batch) * i // parts for i in range(parts + 1)]
    pieces = [batch.part(*ends) for ends in itertools.pairwise(cuts)] if parts > 1 else [batch]
    shares = _shares(job, pieces)
    total: dict[str, Tensor] = {}
    for number, part in enumerate(pieces):
        last = number == len(pieces) - 1
        quiet = contextlib.nullcontext() if last or place.world == 1 else job.module.no_sync()  # pyright: ignore[reportCallIssue]
        with quiet:
            with place.autocast():
                losses = job.losses(part)
                weighted = {k: v * shares(k, number) for k, v in losses.items()}
                loss = torch.stack(list(weighted.values())).sum()
            job.scaler.scale(loss).backward()
        for name, value in weighted.items():
            total[name] = total.get(name, 0) + value.detach()
    if table.clip:
        job.scaler.unscale_(job.optimizer)
        torch.nn.utils.clip_grad_norm_([p for g in job.groups for p in g.parameters], table.clip)
    job.scaler.step(job.optimizer)
    job.scaler.update()
    job.optimizer.zero_grad()
    if job.ema is not None:
        job.ema.update(job.task)
    return total


def _shares(job: Job, parts: Sequence[Batch]) -> Callable[[str, int], Tensor | float]:
    """Factors of (a loss's name, number of a part): with them, the parts' losses add up to the loss
    of the whole batch, averaged over the processes, as gradients are.

    By the weight of what a loss is a mean over (`Task.loss_weights`), else by pictures.
    """
    place = job.place
    pictures = [len(part) * place.world / job.global_batch for part in parts]
    if len(parts) == place.world == 1:
        return lambda name, number: 1.0
    weights = [job.task.loss_weights(part) for part in parts]
    names = list(weights[0])
    if not names:
        return lambda name, number: pictures[number]
    table = torch.stack([torch.stack([w[name].float() for name in names]) for w in weights])
    whole = table.sum(0)
    if place.world > 1:
        dist.all_reduce(whole)
    # where the whole batch has no weight, no part has
    factors = table * place.world / whole.where(whole > 0, 1.0)
    column = {name: factors[:, n] for n, name in enumerate(names)}

    def share(name: str, number: int) -> Tensor | float:
        return column[name][number] if name in column else pictures[number]

    return share


def _what_fits(job: Job, batch: Batch) -> str:
    """A hint: halves the batch until a whole step fits. Empty if not even one picture does.

    The run is over, so the step may change its weights. DDP is left out: its hooks would wait for
    the gradients of the step that failed, and for the other processes.
    """
    job.module = job.task
    size = len(batch) // 2
    while size >= 1:
        job.optimizer.zero_grad()
        free_memory(job.place)
        try:
            with job.place.autocast():
                job.allow_lone(size)
                losses = torch.stack(list(job.task(batch.part(0, size)).values())).sum()
            losses.backward()
            job.optimizer.step()
            fits, parts = size * job.place.world, math.ceil(len(batch) / size)
            hint = f"--batch {fits} fits, or the same batch with optim.accumulate={parts}"
            cheaper = job.place.cheaper
            return f"{hint}; --precision {cheaper} takes half as much" if cheaper else hint
        except Exception as error:
            if not may_be_memory(error):
                raise
        size //= 2
    return ""


def check_finite(step: int, losses: Iterable[float], run: Run) -> None:
    """Raises DivergedError if a loss is not finite."""
    bad = [value for value in losses if not math.isfinite(value)]
    if bad:
        kept = f"; the best weights are kept in {run.path}" if run.weights_file.is_file() else ""
        raise DivergedError(
            f"the loss is {bad[0]} at step {step}{kept}",
            "a lower --lr, a longer --warmup, optim.clip=1, or --precision fp32",
        )
