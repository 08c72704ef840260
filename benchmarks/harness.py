"""Shared by all benchmarks: alternating processes, medians of ratios, a line about the machine.

Speed depends on settings of the whole process (allocator, threads), and a machine's speed drifts.
So each variant is timed in a separate process, the variants take turns (A B A B ...), and the
reported figure is the median over rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def parser(text: str, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    arguments = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument(
        "--json", metavar="FILE", type=Path, help="write the results to this file, as JSON"
    )
    arguments.add_argument(
        "--rounds", type=int, default=rounds, help="rounds over all variants (%(default)s)"
    )
    arguments.add_argument("--quick", action="store_true", help="one short round, as a test")
    return arguments


def machine(device: str) -> str:
    """One line: processor or GPU, AMX or not, cores, threads, torch."""
    import torch

    from xfer.device import Place, cpu_features, find_device

    amx = "with AMX bf16" if "amx_bf16" in cpu_features() else "without AMX"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    where = Place(find_device(device)).describe().rsplit(",", 1)[0]
    return f"{where}; CPU {_cpu_name()} {amx}, {cores} cores; torch {torch.__version__}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((s.split(":", 1)[1].strip() for s in lines if s.startswith("model name")), "")


def seconds_per_call(
    call: Callable[[], Any],
    wait: Callable[[], None],
    min_calls: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median time of a call, after two uncounted ones.

    Args:
        call: the function to time.
        wait: returns when the device has finished its work.
        min_calls: minimum number of calls; more until `seconds` have passed.
        clock: measures a call's time; with time.process_time, other jobs don't count.
    """
    for _ in range(2):
        call()
    wait()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < min_calls or time.perf_counter() < end:
        start = clock()
        call()
        wait()
        times.append(clock() - start)
    return statistics.median(times)


def worker(script: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Runs a benchmark's script in a new process with --worker; returns its last line's JSON."""
    run = subprocess.run(
        [sys.executable, script, "--worker", *arguments], stdout=subprocess.PIPE, text=True
    )
    if run.returncode:
        raise SystemExit(
            f"{Path(script).name} --worker {' '.join(arguments)}: exit {run.returncode}"
        )
    return json.loads(run.stdout.splitlines()[-1])


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float, float]:
    """Median, minimum and maximum over rounds of slow / fast."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def report(results: dict[str, Any], file: Path | None) -> None:
    """Prints the results, and writes them to the file if there is one."""
    for name, value in results.items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    if file is not None:
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
