"""Where and how the arithmetic runs: the one file that knows about accelerators.

Device, precision, memory layout, seeds and the start of several processes.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from xfer import exit_codes
from xfer.allocator import keep_memory
from xfer.errors import XferError
from xfer.types import Batch

GLOO_SECONDS = 0.3
Movable = TypeVar("Movable", Batch, torch.Tensor)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Place:
    """The device and precision of one process, and its rank among the others.

    device    | where its tensors live
    precision | fp32, bf16 or fp16: dtype of convolutions and matrix products; weights stay fp32
    rank      | number of this process; 0 is the one that writes
    world     | number of processes that share the work
    """

    device: torch.device
    precision: str = "fp32"
    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        return self.rank == 0

    @property
    def cheaper(self) -> str:
        """The precision that takes half as much memory; empty if it is in use, or has no use."""
        if self.device.type != "cuda" or self.precision != "fp32":
            return ""
        return find_precision("auto", self.device)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which a forward pass runs in this precision."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, _DTYPES[self.precision])

    def scaler(self) -> torch.amp.GradScaler:  # pyright: ignore[reportPrivateImportUsage]
        """Loss scaling, which only fp16 needs; disabled otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")  # pyright: ignore[reportPrivateImportUsage]

    def put(self, module: torch.nn.Module) -> torch.nn.Module:
        """Moves a module here, its convolution weights in channels_last (1.2x on CPU and GPU)."""
        return module.to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def send(self, batch: Movable) -> Movable:
        """A batch or a tensor here; to a GPU through pinned memory, which the host need not wait
        for."""
        if self.device.type == "cuda":
            batch = batch.pin_memory()
        return batch.to(self.device, non_blocking=True)

    def choose_kernels(self, one_size: bool) -> None:
        """Has cuDNN time its kernels for each size of input that it meets, if sizes recur."""
        if self.device.type == "cuda" and not torch.are_deterministic_algorithms_enabled():
            torch.backends.cudnn.benchmark = one_size

    def synchronise(self) -> None:
        """Waits until the device has finished its queued work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak_memory_mb(self) -> float:
        """The most memory held so far: the device's, or the process's resident set on CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        try:
            import resource
        except ImportError:  # Windows has none
            return 0.0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10

    def describe(self) -> str:
        """One line for the start of a run: device, precision, processes."""
        if self.device.type == "cuda":
            device = torch.cuda.get_device_name(self.device)
        else:
            device = f"{self.device.type}, {torch.get_num_threads()} threads"
        processes = f", {self.world} processes" if self.world > 1 else ""
        return f"{device}, {self.precision}{processes}"


def find_device(name: str = "auto") -> torch.device:
    """The device of that name; auto picks the best available; of several cards, a process started
    by torchrun gets its own. Raises XferError if it is absent."""
    if name == "auto":
        if torch.cuda.is_available():
            return _own_card()
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise XferError(f"unknown device {name!r}", "choose auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or (device.index or 0) >= count:
            raise XferError(
                f"device {name!r}: this machine has {count} CUDA devices", "--device cpu"
            )
        return device if device.index is not None else _own_card()
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise XferError("device 'mps' is not available here", "--device cpu")
    return device


def _own_card() -> torch.device:
    """The card of this process's number on this machine. Raises XferError if there are too few."""
    number, count = _number("LOCAL_RANK", 0), torch.cuda.device_count()
    processes = max(_number("LOCAL_WORLD_SIZE", 1), number + 1)
    if count == 1 and "SLURM_STEP_ID" in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ:
        return torch.device("cuda", 0)  # srun may show each process its own card alone
    if processes > count:
        cards = "1 CUDA device" if count == 1 else f"{count} CUDA devices"
        raise XferError(
            f"{processes} processes on this machine, which has {cards}",
            f"torchrun --nproc-per-node {count}, or --device cpu",
        )
    return torch.device("cuda", number)


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else default


def _check_alone(device: str) -> None:
    """Raises XferError for processes that would all take one card, or don't know of each other."""
    processes = _number("LOCAL_WORLD_SIZE", 1)
    if processes > 1 and device.startswith("cuda:"):
        raise XferError(
            f"device {device!r}: {processes} processes on this machine would share one card",
            "--device cuda: each takes its own",
        )
    tasks = _number("SLURM_STEP_NUM_TASKS", 1)
    if tasks > 1 and "RANK" not in os.environ:
        raise XferError(
            f"srun has started {tasks} processes, which don't know of each other (no RANK)",
            "one task per machine, with torchrun in it; or unset SLURM_STEP_NUM_TASKS for "
            "independent runs",
        )


def cpu_features() -> frozenset[str]:
    """Instruction sets that matter here: amx_bf16, avx512_bf16, avx512f, bf16 (ARM)."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    words = set(text.split())
    return frozenset(words & {"amx_bf16", "avx512_bf16", "avx512f", "bf16"})


def find_precision(name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16; auto is bf16 where the hardware has bf16 arithmetic, else fp32."""
    if name == "fp16" and device.type == "cpu":
        raise XferError("precision fp16 needs a GPU", "--precision bf16 or fp32")
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
        raise XferError("this GPU has no bf16 arithmetic", "--precision fp16 or fp32")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(False) else "fp16"
    fast = bool(cpu_features() & {"amx_bf16", "avx512_bf16", "bf16"})
    return "bf16" if device.type == "cpu" and fast else "fp32"


def seed_everything(seed: int) -> None:
    """Seeds python, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """The state of every random generator, in types that a weights_only load accepts."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, gauss_next = random.getstate()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)),
                  int(position), int(has_gauss), float(gauss)],
        "python": [version, list(internal), gauss_next],
    }  # fmt: skip
    if torch.cuda.is_initialized():  # asking would take up memory of a GPU that is not used
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Restores every random generator to a state returned by `random_states`."""
    torch.set_rng_state(states["torch"])
    name, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
    if "cuda" in states and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states["cuda"])


@contextlib.contextmanager
def _equal_bits() -> Iterator[None]:
    """Has a GPU add in the same order each time, and torch refuse what it can't do so."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextlib.contextmanager
def placed(
    device: str = "auto", precision: str = "auto", deterministic: bool = False
) -> Iterator[Place]:
    """Joins the process group described by torchrun's environment variables, and leaves it at exit.

    Args: deterministic: equal bits each time on the same card; a CPU gives them anyway.

    Raises XferError for a device or precision that is not available.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    _check_alone(device)
    where = find_device(device)
    keep_memory()
    if where.type == "cuda":
        torch.cuda.set_device(where)
        torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
    stop_watch: Callable[[], None] | None = None
    same = deterministic and where.type == "cuda"
    try:
        if world > 1 and not dist.is_initialized():
            stop_watch = _join("nccl" if where.type == "cuda" else "gloo", rank, world)
        with _equal_bits() if same else contextlib.nullcontext():
            yield Place(where, find_precision(precision, where), rank, world)
    except BaseException as error:
        if world > 1:
            exit_codes.note_failure(error)
            _abort()
        raise
    finally:
        if stop_watch is not None:
            stop_watch()
            if dist.is_initialized():
                dist.destroy_process_group()
            # gloo threads may still be releasing the last collective and need the GIL: if the
            # interpreter is already shutting down they abort the process ("terminate called", 4
            # runs of 10)
            time.sleep(GLOO_SECONDS)


def _join(backend: str, rank: int, world: int) -> Callable[[], None]:
    """Joins the process group, under a new prefix after each restart: torchrun keeps the rendezvous
    store across restarts (torch 2.14), so it still lists dead processes. From here on this process
    ends when another fails; returns what ends that."""
    timeout = timedelta(minutes=30)
    stores = dist.rendezvous("env://", rank, world, timeout=timeout)  # pyright: ignore[reportPrivateImportUsage]
    name = f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT') or 0}"
    base = next(stores)[0]
    exit_codes.use_store(base)
    stop_watch = exit_codes.end_with_the_others(base.clone())
    store = dist.PrefixStore(name, base)  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
    return stop_watch


def _abort() -> None:
    """Gives up the collectives that a failed process has begun: NCCL would wait for the others,
    which wait for this one."""
    if dist.is_initialized() and dist.get_backend() == "nccl":
        with contextlib.suppress(Exception):
            torch.distributed.distributed_c10d._abort_process_group()  # pyright: ignore


def on_device(batches: Iterator[Batch], place: Place) -> Iterator[Batch]:
    """Batches on the device; on a GPU, the next one is copied while the current one is in use.

    The host memory of a batch is held until its copy is done: otherwise a loader may write the next
    batch into it.
    """
    if place.device.type != "cuda":
        for batch in batches:
            yield batch.to(place.device)
        return
    stream = torch.cuda.Stream(place.device)
    coming: deque[tuple[Batch, Batch, Any]] = deque()

    def copy_next() -> None:
        host = next(batches, None)
        if host is not None:
            with torch.cuda.stream(stream):
                there = host.to(place.device)
            coming.append((there, host, stream.record_event()))

    copy_next()
    while coming:
        copy_next()
        there, host, copied = coming.popleft()
        using = torch.cuda.current_stream(place.device)
        using.wait_event(copied)
        for tensor in there.tensors():
            tensor.record_stream(using)
        yield there
        copied.synchronize()
        del there, host


def gather(value: Any, place: Place) -> list[Any]:
    """The values that all processes passed, in rank order, on every process."""
    if place.world == 1:
        return [value]
    values: list[Any] = [None] * place.world
    dist.all_gather_object(values, value)
    return values


def broadcast(value: Any, place: Place) -> Any:
    """The value that rank 0 passed, on every process."""
    return gather(value, place)[0]


def enter_on_main(
    start: Callable[[], AbstractContextManager[Any]], held: ExitStack, place: Place
) -> Any:
    """Enters a context on rank 0, until `held` is left; what it gives there, None elsewhere.

    Raises: the XferError that it raises, on every process, so that none waits for the others.
    """
    given: Any = None
    error: XferError | None = None
    if place.main:
        try:
            given = held.enter_context(start())
        except XferError as refused:
            error = refused
    error = broadcast(error, place)
    if error is not None:
        raise error
    return given


def broadcast_buffers(module: torch.nn.Module, place: Place) -> None:
    """Copies rank 0's buffers, the ones that are saved, to every process.

    Each process's batch norms have last seen its own pictures; training synchronises them only when
    the next step begins.
    """
    if place.world > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def average(losses: dict[str, float], place: Place) -> dict[str, float]:
    """The mean over processes."""
    if place.world == 1:
        return losses
    values = torch.tensor(list(losses.values()), dtype=torch.float64, device=place.device)
    dist.all_reduce(values)
    return dict(zip(losses, (values / place.world).tolist(), strict=True))


def any_process(flag: bool, place: Place) -> bool:
    """Whether the flag is set in any process."""
    if place.world == 1:
        return flag
    value = torch.tensor([float(flag)], device=place.device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def usable_precision(name: str, device: str = "auto") -> str:
    """The precision of that name; auto if the device lacks it, as a CPU lacks fp16."""
    try:
        return find_precision(name, find_device(device))
    except XferError:
        return "auto"
