"""Kills training repeatedly at random moments, resumes it, and compares with an unkilled run.

One run is not disturbed. Then the same command is killed (SIGKILL, SIGTERM and SIGINT in turn)
after a random time, every fifth time by SIGKILL while a file is being written, and resumed, until
it ends; more runs are started until the number of kills is reached. Every killed run must equal the
first bit for bit: each tensor of best.safetensors and each loss, rate and score in log.jsonl.

Exits with 1 if anything differs. Results: kills, runs, resumed (from a saved step), equal.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 600.0


def command(out: Path, arguments: Sequence[str]) -> list[str]:
    """The command that starts the run, or resumes it if it exists."""
    xfer = [sys.executable, "-m", "xfer", "finetune"]
    if (out / "recipe.toml").is_file():
        return [*xfer, "--resume", str(out), "-q"]
    if out.exists():
        shutil.rmtree(out)  # killed before the run existed: nothing to resume
    return [*xfer, *arguments, "--out", str(out), "-q"]


def run_whole(out: Path, arguments: Sequence[str]) -> float:
    """Runs to the end undisturbed; returns the seconds it took."""
    start = time.monotonic()
    done = subprocess.run(command(out, arguments), timeout=PATIENCE)
    if done.returncode:
        raise SystemExit(f"the run ended with exit code {done.returncode}")
    return time.monotonic() - start


def run_and_kill(
    out: Path, arguments: Sequence[str], delay: float, how: signal.Signals, aimed: bool
) -> int | None:
    """Runs for `delay` seconds, then kills; returns the exit status, or None if it had ended.

    A signal ends it directly, or with 130 if it was caught: anything else is an error.

    Args:
        aimed: then wait for the next temporary file in the run folder, and kill while it exists.
    """
    output = out.with_suffix(".txt")
    with output.open("wb") as file:
        process = subprocess.Popen(command(out, arguments), stderr=file)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        end = time.monotonic() + PATIENCE
        while aimed and process.poll() is None and not _writing(out) and time.monotonic() < end:
            time.sleep(0.0005)
        if process.poll() is None:
            process.send_signal(how)
            process.wait(PATIENCE)
    status = process.returncode
    if status not in (0, 130, -how):
        print(output.read_text(encoding="utf-8", errors="replace")[-2000:])
        raise SystemExit(f"{out.name}: exit {status}, neither a normal end nor an interruption")
    return status or None


def _writing(out: Path) -> bool:
    with contextlib.suppress(OSError):  # folders change while they are listed
        return any(out.glob("**/.*.tmp"))
    return False


def differences(first: Path, other: Path) -> list[str]:
    """The differences, bit for bit, between two finished runs."""
    from safetensors.numpy import load_file

    a, b = (load_file(run / "best.safetensors") for run in (first, other))
    found = [f"tensors {sorted(set(a) ^ set(b))}"] if a.keys() != b.keys() else []
    found += [f"tensor {k}" for k in a.keys() & b.keys() if a[k].tobytes() != b[k].tobytes()]
    ours, theirs = _course(first), _course(other)
    found += [f"{event} at step {step}" for event, step in sorted(set(ours) | set(theirs))
              if ours.get((event, step)) != theirs.get((event, step))]  # fmt: skip
    return found


def _course(run: Path) -> dict[tuple[str, int], Any]:
    """The training record at each step, without times and memory, which may differ."""
    keys = ("epoch", "losses", "loss", "lr", "metrics")
    return {
        (e["event"], e["step"]): {key: e[key] for key in keys if key in e}
        for e in _events(run)
        if e["event"] in ("train", "eval")
    }


def _events(run: Path) -> list[dict[str, Any]]:
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=20)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (%(default)s)")
    parser.add_argument(
        "--aimed", type=int, default=5, help="every n-th kill hits a write; 0: none"
    )
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    parser.add_argument(
        "train", nargs="*", help="arguments of xfer finetune, after --; default: --data digits"
    )
    options = parser.parse_args()
    kills = 2 if options.quick else options.rounds
    epochs = "2" if options.quick else "8"
    arguments = options.train or ["--data", "digits", "--seed", "3", "--epochs", epochs]
    moments = random.Random(options.seed)
    work = options.keep or Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    work.mkdir(parents=True, exist_ok=True)
    print(harness.machine("auto"))
    try:
        results = compare(work, arguments, kills, moments, options.aimed)
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)
    harness.report(results, options.json)
    sys.exit(0 if results["equal"] else 1)


def compare(
    work: Path, arguments: Sequence[str], kills: int, moments: random.Random, aimed: int
) -> dict[str, Any]:
    """Makes the unkilled run and the killed ones, and compares them."""
    whole = work / "whole"
    seconds = run_whole(whole, arguments)
    print(f"undisturbed: {seconds:.1f} s", flush=True)
    done = resumed = runs = 0
    bad: list[str] = []
    while done < kills:
        runs += 1
        out = work / f"killed-{runs}"
        ended = False
        while not ended and done < kills:
            aim = aimed > 0 and done % aimed == aimed - 1
            how = signal.SIGKILL if aim else SIGNALS[done % len(SIGNALS)]
            status = run_and_kill(out, arguments, moments.uniform(0, 0.8 * seconds), how, aim)
            ended = status is None
            if not ended:
                done += 1
                where = " in a write" if aim else ""
                print(f"kill {done}: {how.name}{where}, exit {status}", flush=True)
        if not ended:
            run_whole(out, arguments)
        resumed += sum(e["event"] == "resume" and e["step"] > 0 for e in _events(out))
        found = differences(whole, out)
        bad += [f"{out.name}: {what}" for what in found]
        print(f"{out.name}: {'equal' if not found else '; '.join(found[:5])}", flush=True)
    return {"kills": done, "runs": runs, "resumed": resumed, "equal": not bad}


if __name__ == "__main__":
    main()
