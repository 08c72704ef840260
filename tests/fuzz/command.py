"""Runs every target in a child process with limits, and prints what was found."""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

from fuzz import case as cases
from fuzz.target import Target, load_targets
from fuzz.trial import SECONDS, BadSeed, Faults, Trial, replay

_GB = 1 << 30
_ADDRESSES = 16 * _GB  # beyond what the child has when it starts
_RESIDENT = 2.5 * _GB  # a child is killed beyond it and what it began with
_STUCK = 6 * SECONDS  # seconds of CPU without a new input: native code does not see signals
_ASLEEP = 24 * SECONDS  # seconds without one; shorter pauses may be the machine's
_AGAIN = 75  # a child's exit code: another is to go on
_SETUP = 300.0  # seconds for imports and miniatures
_BEAT = struct.Struct("ddqq")  # time, CPU time, number of the input being read, inputs read


@dataclass
class Outcome:
    """What a target did."""

    inputs: int
    faults: Faults
    broken: str = ""


def main(words: list[str] | None = None) -> int:
    """The command line; returns the exit code: 0 without a fault, 1 with faults, 2 for misuse."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000, help="per target")
    parser.add_argument("--seconds", type=float, default=60.0, help="per target")
    parser.add_argument("--target", action="append", default=[], metavar="T")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    jobs = min(2, os.cpu_count() or 1)  # each may take up to 2.5 GB
    parser.add_argument("--jobs", type=int, default=jobs, help="targets at a time")
    parser.add_argument("--replay", type=Path, metavar="PATH", help="a saved input of --target")
    given = parser.parse_args(words)
    work = Path(tempfile.mkdtemp(prefix="xfer-fuzz-"))
    os.environ["XFER_CACHE"] = str(work / "cache")
    targets = load_targets()
    unknown = [name for name in given.target if name not in targets]
    if unknown or (given.replay and len(given.target) != 1):
        print(f"unknown: {', '.join(unknown) or 'which --target to replay'}", file=sys.stderr)
        print(f"targets: {', '.join(targets)}", file=sys.stderr)
        return 2
    chosen = [targets[name] for name in given.target or targets]
    if given.replay:
        replay(chosen[0], given.replay.absolute(), work)
        return 0
    outcomes: dict[str, Outcome] = {}
    waiting, running = list(chosen), dict[str, Watch]()
    while waiting or running:
        while waiting and len(running) < max(1, given.jobs):
            one = waiting.pop(0)
            running[one.name] = Watch(one, work, given.seed, given.inputs, given.seconds)
        time.sleep(0.02)
        for name, watch in list(running.items()):
            outcome = watch.look()
            if outcome is not None:
                outcomes[name] = outcome
                del running[name]
                _print(name, outcome)
    if given.json:
        content = {
            name: {"inputs": o.inputs, "faults": sum(f.count for f in o.faults.found.values())}
            for name, o in outcomes.items()
        }
        given.json.write_text(json.dumps({"targets": content}, indent=1) + "\n")
    bad = any(outcome.faults.found or outcome.broken for outcome in outcomes.values())
    total = sum(outcome.inputs for outcome in outcomes.values())
    kinds = sum(len(outcome.faults.found) for outcome in outcomes.values())
    print(f"{len(outcomes)} targets, {total} inputs, {kinds} kinds of faults")
    if kinds:
        print(f"the smallest input of each lies in {work}")
    return int(bad)


def _print(name: str, outcome: Outcome) -> None:
    count = sum(fault.count for fault in outcome.faults.found.values())
    print(f"{name}: {outcome.inputs} inputs, {count} faults{outcome.broken}", flush=True)
    for fault in outcome.faults.found.values():
        print(f"  {fault.key} ({fault.count} times) {fault.text}")
        print(f"    {fault.smallest} bytes: {fault.file}", flush=True)


class Watch:
    """A target in a child process, which is started again where one of its inputs kills it."""

    def __init__(self, target: Target, work: Path, seed: int, inputs: int, seconds: float) -> None:
        self.target, self.seed, self.inputs, self.seconds = target, seed, inputs, seconds
        self.work = work / target.name
        self.work.mkdir(parents=True)
        self.shared = mmap.mmap(-1, mmap.PAGESIZE)
        self.number, self.read = 0, 0  # of inputs, by the children before this one
        self.first = _resident(os.getpid())  # each child begins with this process's memory
        self._start()

    def _start(self) -> None:
        """Forks the child. Nothing in this process has started a thread."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.shared[: _BEAT.size] = _BEAT.pack(0.0, 0.0, self.number, self.read)
        self.began = time.monotonic()
        self.process = os.fork()
        if self.process == 0:
            try:
                self._child()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)

    def _child(self) -> None:
        os.setsid()
        log = os.open(self.work / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        warnings.simplefilter("ignore")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faults = Faults.load(self.work / "faults")
        trial = Trial(self.target, self.work, self.seed, faults)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        for number, _ in trial.run(self.number, self.inputs, self.seconds):
            read = self.read + number - self.number
            beat = _BEAT.pack(time.monotonic(), time.process_time(), number, read)
            self.shared[: _BEAT.size] = beat
        began, used, number, read = _BEAT.unpack(self.shared[: _BEAT.size])
        self.shared[: _BEAT.size] = _BEAT.pack(began, used, number, read + bool(began))
        if trial.bloated:
            os._exit(_AGAIN)

    def look(self) -> Outcome | None:
        """How the target has ended; None while it has not."""
        ended, status = os.waitpid(self.process, os.WNOHANG)
        beat, used, number, read = _BEAT.unpack(self.shared[: _BEAT.size])
        now = time.monotonic()
        reason = ""
        if not ended:
            if beat and now - beat > _STUCK and _cpu_seconds(self.process) - used > _STUCK:
                reason = f"hang > {_STUCK:.0f} s"
            elif beat and now - beat > _ASLEEP:
                reason = f"hang > {_ASLEEP:.0f} s"
            elif not beat and now - self.began > _SETUP:
                reason = "setup"
            elif _resident(self.process) > self.first + _RESIDENT:
                reason = f"memory > {_RESIDENT / _GB:.1f} GB"
            if not reason:
                return None
            os.kill(self.process, signal.SIGKILL)
            _, status = os.waitpid(self.process, 0)
        faults = Faults.load(self.work / "faults")
        if not reason and status == 0:
            return Outcome(read, faults)
        code = os.waitstatus_to_exitcode(status)
        if code == _AGAIN:
            return self._go_on(number + 1, read, now, faults)
        if not beat or code > 0:
            log = (self.work / "log").read_text(errors="replace").strip().splitlines()
            return Outcome(read, faults, f"; the target is broken: {(log or ['?'])[-1]}")
        kind = reason or signal.Signals(-code).name
        faults.add(kind, "native code", "", cases.of_folder(self.work / "input"))
        return self._go_on(number + 1, read + 1, now, faults)

    def _go_on(self, number: int, read: int, now: float, faults: Faults) -> Outcome | None:
        """Starts a child for the rest of the inputs, if there are any."""
        self.number, self.read = number, read
        self.seconds -= now - self.began
        if self.number >= self.inputs or self.seconds <= 0:
            return Outcome(self.read, faults)
        self._start()
        return None


def _resident(process: int) -> int:
    """Bytes of memory that a process has in use; 0 if it is gone."""
    try:
        text = Path(f"/proc/{process}/statm").read_text()
        return int(text.split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _cpu_seconds(process: int) -> float:
    """Seconds of CPU that a process has used; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0


__all__ = ["BadSeed", "main"]
