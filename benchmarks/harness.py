"""What all benchmarks share: alternating processes, medians of ratios, and the machine in words.

Speed depends on settings of the whole process (allocator, threads), and a machine's speed drifts.
So each variant is timed in a process of its own, the variants take turns (A B A B ...), and what
is reported is the median over rounds of the ratio within a round.
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
    made = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", metavar="FILE", type=Path, help="write the results there, as JSON")
    made.add_argument(
        "--rounds", type=int, default=rounds, help="turns of all variants (%(default)s)"
    )
    made.add_argument("--quick", action="store_true", help="one short round: shows that it runs")
    return made


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
    least: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median time of a call, after two that are not counted.

    Args:
        call: what is timed.
        wait: returns when the device has done what it was given.
        least: calls at least; more until `seconds` have passed.
        clock: what a call's time is read from; time.process_time: other jobs' turns don't count.
    """
    for _ in range(2):
        call()
    wait()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = clock()
        call()
        wait()
        times.append(clock() - start)
    return statistics.median(times)


def worker(script: str, words: Sequence[str]) -> dict[str, Any]:
    """Runs a benchmark's script in a new process with --worker; the JSON of its last line."""
    run = subprocess.run(
        [sys.executable, script, "--worker", *words], stdout=subprocess.PIPE, text=True
    )
    if run.returncode:
        raise SystemExit(f"{Path(script).name} --worker {' '.join(words)}: exit {run.returncode}")
    return json.loads(run.stdout.splitlines()[-1])


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and largest over rounds of slow / fast."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def report(results: dict[str, Any], file: Path | None) -> None:
    """Prints the results last, and writes them where the user asked for it."""
    for name, value in results.items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    if file is not None:
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
