"""Inputs made and read in this process: what comes out is data, an XferError, or a fault."""

from __future__ import annotations

import json
import random
import re
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import xfer
from fuzz import case as cases
from fuzz.case import Bench, Case
from fuzz.mutate import mutated
from fuzz.target import Target
from xfer.errors import XferError

SECONDS = 5.0  # of CPU, for one input
_STATM = Path("/proc/self/statm")
_OURS = (f"{Path(xfer.__file__).parent}/", f"{Path(xfer.__file__).parent.parent / 'tasks'}/")
_KEPT = 200  # inputs that are mutated again because they led to a new outcome


class Hang(BaseException):
    """An input took too long. Not an Exception: readers may catch those."""


class BadSeed(Exception):
    """A miniature is not read: the target is wrong, not the reader."""


@dataclass
class Fault:
    """A kind of fault: the exception's type and place, how often it was met, and its smallest
    input."""

    kind: str
    place: str
    text: str
    count: int = 0
    smallest: int = 1 << 62
    file: str = ""

    @property
    def key(self) -> str:
        return f"{self.kind} @ {self.place}"


@dataclass
class Faults:
    """The faults of a target; the smallest input of each is kept in a folder."""

    folder: Path
    found: dict[str, Fault] = field(default_factory=dict[str, Fault])

    def add(self, kind: str, place: str, text: str, case: Case) -> None:
        """Counts a fault and keeps its input, if it is the smallest of its kind so far."""
        fault = Fault(kind, place, text)
        fault = self.found.setdefault(fault.key, fault)
        fault.count += 1
        if cases.size(case) < fault.smallest:
            name = re.sub(r"[^\w.-]+", "_", fault.key)[:100]
            to = self.folder / name
            cases.write(case, to)
            fault.smallest, fault.file, fault.text = cases.size(case), str(to), text
        self.save()

    def save(self) -> None:
        """Writes what is known, so that it outlives a crash."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps([vars(fault) for fault in self.found.values()])
        (self.folder / "faults.json").write_text(text)

    @classmethod
    def load(cls, folder: Path) -> Faults:
        """What `save` wrote there."""
        file = folder / "faults.json"
        known = json.loads(file.read_text()) if file.is_file() else []
        faults = [Fault(**about) for about in known]
        return cls(folder, {fault.key: fault for fault in faults})


def place_of(error: BaseException) -> str:
    """file:line function of the innermost frame in xfer; of a hang, which is met anywhere, without
    the line."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(_OURS)] or [
        f for f in frames if f.filename != __file__
    ]
    if not ours:
        return "?"
    frame, path = ours[-1], Path(ours[-1].filename)
    near = path.parent.name if path.parent.name == "xfer" else "/".join(path.parts[-3:-1])
    line = "" if isinstance(error, Hang) else f":{frame.lineno}"
    return f"{near}/{path.name}{line} {frame.name}"


@contextmanager
def limited() -> Iterator[None]:
    """Raises Hang in the body after SECONDS of this process's CPU."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _resident() -> int:
    """Bytes of memory in use."""
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Trial:
    """The inputs of one target, made one from another and read in this process.

    An input that leads to a message not met before is kept and mutated again, so that the search
    goes on behind the first check that refuses it. The same seed gives the same inputs.

    Args: work: a folder for files, emptied first; faults: where faults go.
    """

    def __init__(self, target: Target, work: Path, seed: int, faults: Faults) -> None:
        self.target, self.seed, self.faults = target, seed, faults
        folder = work / "seeds"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if target.warm is not None:
            target.warm()
        self.corpus = target.seeds(folder)
        self._first = len(self.corpus)
        self._met: set[str] = set()
        self.bench = Bench(work / "input")
        self.bloated = False  # the peak never falls: only a new process sees the next one
        for number, seed_case in enumerate(self.corpus):
            try:
                target.use(self.bench.lay(seed_case))
            except Exception as error:
                names = ", ".join(list(seed_case)[:3])
                raise BadSeed(f"seed {number} ({names}): {error!r}") from error

    def make(self, number: int) -> Case:
        """Input `number`: a kept case, mutated once to a few times."""
        rng = random.Random(f"{self.seed}/{self.target.name}/{number}")
        fresh = rng.random() < 0.5 or len(self.corpus) == self._first
        last = self._first if fresh else len(self.corpus)
        case = mutated(self.corpus[rng.randrange(last)], self.corpus, self.target.keep, rng)
        mend = self.target.mend
        return mend(case) if mend is not None and rng.random() < 0.8 else case

    def read(self, case: Case) -> None:
        """Reads a case and sorts what comes out."""
        before, peak = _resident(), _peak()
        kind = text = place = ""
        try:
            path = self.bench.lay(case)
        except (OSError, ValueError):
            return  # a name that no file can have
        try:
            with limited():
                self.target.use(path)
            outcome = "data"
        except XferError as error:
            outcome = f"{place_of(error)} {re.sub(r'[0-9]+', '0', error.message)[-60:]}"
        except Hang as error:
            kind, place, text = f"hang > {SECONDS:.0f} s", place_of(error), ""
            outcome = kind
        except Exception as error:
            kind, place, text = type(error).__name__, place_of(error), str(error)[:200]
            outcome = f"{kind} {place}"
        now = _peak()
        if not kind and now > peak and now - before > self.target.memory * 2**30:
            kind, place = "memory", f"{(now - before) / 2**30:.1f} GB"
            self.bloated = True
        if kind:
            self.faults.add(kind, place, text, case)
        if outcome not in self._met and len(self._met) < 2000:
            self._met.add(outcome)
            if len(self.corpus) - self._first < _KEPT and cases.size(case) < 1 << 20:
                self.corpus.append(case)

    def run(self, start: int, inputs: int, seconds: float) -> Iterator[tuple[int, Case]]:
        """Reads inputs `start` to `inputs`, or until the time is over; yields each number and case
        before it is read."""
        end = time.monotonic() + seconds
        for number in range(start, inputs):
            if time.monotonic() > end:
                return
            case = self.make(number)
            yield number, case
            self.read(case)
            if self.bloated:
                return


def replay(target: Target, path: Path, work: Path) -> Any:
    """Reads one saved input; every exception passes."""
    case = cases.of_folder(path) if path.is_dir() else cases.of_file(path)
    bench = Bench(work / "input")
    if target.warm is not None:
        target.warm()
    with limited():
        return target.use(bench.lay(case))
