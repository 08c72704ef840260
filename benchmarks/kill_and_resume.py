"""Kills training again and again at random moments, resumes it, and compares with an unkilled run.

One run goes through undisturbed. Then the same command is killed (SIGKILL, SIGTERM and SIGINT in
turn) after a random while, every fifth time by SIGKILL in the moment when a file is being written,
and resumed, until it ends; when it ends early, another is started, until so many kills are done.
Every run that was killed must have the same bits as the first: each tensor of best.safetensors and
each loss, rate and score in log.jsonl.

Exit 1 where anything differs. Results: kills, runs, resumed (how often from a saved step), equal.
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


def command(out: Path, words: Sequence[str]) -> list[str]:
    """Starts the run, or goes on with it where it has begun."""
    xfer = [sys.executable, "-m", "xfer", "finetune"]
    if (out / "recipe.toml").is_file():
        return [*xfer, "--resume", str(out), "-q"]
    if out.exists():
        shutil.rmtree(out)  # killed before there was a run: nothing to resume
    return [*xfer, *words, "--out", str(out), "-q"]


def run_whole(out: Path, words: Sequence[str]) -> float:
    """Runs to the end undisturbed; the seconds it took."""
    start = time.monotonic()
    done = subprocess.run(command(out, words), timeout=PATIENCE)
    if done.returncode:
        raise SystemExit(f"the run ended with exit {done.returncode}")
    return time.monotonic() - start


def run_and_kill(
    out: Path, words: Sequence[str], delay: float, how: signal.Signals, aimed: bool
) -> int | None:
    """Runs for `delay` seconds, then kills; the exit status, or None if it had ended by itself.

    A signal ends it by itself, or with 130 where it was caught: anything else is an error.

    Args:
        aimed: wait on for the next temporary file in the run folder, and kill while it is there.
    """
    said = out.with_suffix(".txt")
    with said.open("wb") as file:
        process = subprocess.Popen(command(out, words), stderr=file)
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
        print(said.read_text(encoding="utf-8", errors="replace")[-2000:])
        raise SystemExit(f"{out.name}: exit {status}, neither an end nor an interruption")
    return status or None


def _writing(out: Path) -> bool:
    with contextlib.suppress(OSError):  # folders come and go while they are listed
        return any(out.glob("**/.*.tmp"))
    return False


def differences(first: Path, other: Path) -> list[str]:
    """What is not the same, bit for bit, in two finished runs."""
    from safetensors.numpy import load_file

    a, b = (load_file(run / "best.safetensors") for run in (first, other))
    found = [f"tensors {sorted(set(a) ^ set(b))}"] if a.keys() != b.keys() else []
    found += [f"tensor {k}" for k in a.keys() & b.keys() if a[k].tobytes() != b[k].tobytes()]
    ours, theirs = _course(first), _course(other)
    found += [f"{event} at step {step}" for event, step in sorted(set(ours) | set(theirs))
              if ours.get((event, step)) != theirs.get((event, step))]  # fmt: skip
    return found


def _course(run: Path) -> dict[tuple[str, int], Any]:
    """What was learnt at each step; times and memory are left out, they may differ."""
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
    made = harness.parser(__doc__ or "", rounds=20)
    made.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    made.add_argument("--aimed", type=int, default=5, help="every n-th kill hits a write; 0: none")
    made.add_argument("--keep", type=Path, help="leave the runs in this folder")
    made.add_argument(
        "train", nargs="*", help="arguments of xfer finetune, after --; default: --data digits"
    )
    options = made.parse_args()
    kills = 2 if options.quick else options.rounds
    epochs = "2" if options.quick else "8"
    words = options.train or ["--data", "digits", "--seed", "3", "--epochs", epochs]
    moments = random.Random(options.seed)
    work = options.keep or Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    work.mkdir(parents=True, exist_ok=True)
    print(harness.machine("auto"))
    try:
        results = compare(work, words, kills, moments, options.aimed)
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)
    harness.report(results, options.json)
    sys.exit(0 if results["equal"] else 1)


def compare(
    work: Path, words: Sequence[str], kills: int, moments: random.Random, aimed: int
) -> dict[str, Any]:
    """The unkilled run, the killed ones, and what came of them."""
    whole = work / "whole"
    seconds = run_whole(whole, words)
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
            status = run_and_kill(out, words, moments.uniform(0, 0.8 * seconds), how, aim)
            ended = status is None
            if not ended:
                done += 1
                where = " in a write" if aim else ""
                print(f"kill {done}: {how.name}{where}, exit {status}", flush=True)
        if not ended:
            run_whole(out, words)
        resumed += sum(e["event"] == "resume" and e["step"] > 0 for e in _events(out))
        found = differences(whole, out)
        bad += [f"{out.name}: {what}" for what in found]
        print(f"{out.name}: {'equal' if not found else '; '.join(found[:5])}", flush=True)
    return {"kills": done, "runs": runs, "resumed": resumed, "equal": not bad}


if __name__ == "__main__":
    main()
