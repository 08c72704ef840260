"""Kills and starves every long command at random moments, and compares with what is undisturbed.

Jobs: training for classify, detect and segment, packing, indexing tars, features, a download from a
server on this machine, compress. Each is done once undisturbed. Then:

kills     | killed after a random time by SIGKILL, SIGTERM, SIGINT and SIGHUP in turn, every fifth
          | time by SIGKILL while a file is being written, and given again until it ends
full      | on a disk of its own with room for a random share, and again when there is more room
twice     | interrupted by Ctrl-C twice at a random moment: it ends in seconds
two       | given twice at once: one ends, the other says who is writing
clock     | killed, and given again with the clock set back a day and files dated in the future
processes | trained by two processes (torchrun, gloo), one of which is killed, and resumed

All must end with the bits of the undisturbed one: weights, losses, rates and scores; a pack's, an
index's, a download's and a features file's bytes. A kill must end it as that signal does, or with
130, and a full disk with 3 and a line that names a file; nothing temporary may be left then.

Exits with 1 if anything differs. With arguments of `xfer finetune` after --, only that training is
killed. Results: kills, ends (how often a job ended and was compared), bad (what was wrong).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import harness

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PATIENCE = 600.0
DAY = 86400.0
SMALL = ("--batch", "8", "--workers", "1", "--seed", "3", "-q", "run.plots=false",
         "run.precision=fp32", "data.size=48")  # fmt: skip
TRAININGS = {"classify": ("60", "4"), "detect": ("8", "2"), "segment": ("8", "2")}  # limit, epochs
# of a hundred kills: a step of detection takes long
SHARES = {"classify": 8, "detect": 3, "segment": 3, "pack": 24, "index": 24, "features": 10,
          "download": 24, "compress": 4}  # fmt: skip


@dataclass
class Job:
    """A command that can be given again.

    work    | does it in this process, below a folder: its exit code
    content | what must be equal in the end, by name
    """

    name: str
    work: Callable[[Path], int]
    content: Callable[[Path], dict[str, Any]]
    seconds: float = 0.0
    wanted: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class Tally:
    """What was done and what was wrong."""

    kills: int = 0
    ends: int = 0
    full: int = 0
    twice: int = 0
    slowest: float = 0.0  # seconds from the second Ctrl-C to the end
    two: int = 0
    clock: int = 0
    processes: int = 0
    bad: list[str] = field(default_factory=list[str])

    def wrong(self, what: str) -> None:
        self.bad.append(what)
        print(f"WRONG: {what}", flush=True)


# ---- jobs


def xfer(*words: str) -> int:
    from xfer.cli.app import main

    return main(list(words))


def training(*words: str) -> Callable[[Path], int]:
    """Starts a run, or resumes the one that is there."""

    def work(out: Path) -> int:
        if (out / "recipe.toml").is_file():
            return xfer("finetune", "--resume", str(out), "-q")
        return xfer("finetune", *words, "--out", str(out))

    return work


def course(run: Path) -> dict[str, Any]:
    """A run's tensors, and its record at each step without times and memory, which may differ."""
    from safetensors.numpy import load_file

    keys = ("epoch", "losses", "loss", "lr", "metrics")
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    events = [e for e in map(json.loads, lines) if e["event"] in ("train", "eval")]
    tensors = load_file(run / "best.safetensors")
    found: dict[str, Any] = {f"tensor {k}": digest(v.tobytes()) for k, v in tensors.items()}
    for event in events:
        name = f"{event['event']} at step {event['step']}"
        if name in found:
            found[f"{name}, twice"] = True
        found[name] = {key: event[key] for key in keys if key in event}
    return found


def files(folder: Path) -> dict[str, Any]:
    """The bytes of a file, or of the files of a folder."""
    every = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder.parent)).partition("/")[2]: digest(p.read_bytes())
            for p in every}  # fmt: skip


def arrays(file: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(file) as found:
        return {name: digest(found[name].tobytes()) for name in found if name != "meta"}


def compressed(run: Path) -> dict[str, Any]:
    """A compressed run's tensors and scores; its times differ."""
    from safetensors.numpy import load_file

    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    tensors = {k: digest(v.tobytes()) for k, v in load_file(run / "best.safetensors").items()}
    return {**tensors, "metrics": result["metrics"], "classes": (run / "classes.txt").read_text()}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def differences(first: Path, other: Path) -> list[str]:
    """The differences, bit for bit, between two finished runs."""
    return unequal(course(first), course(other))


def unequal(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))


def jobs(work: Path, url: str) -> list[Job]:
    """Every job, with its data made below `work`."""
    pictures, tars = work / "pictures", work / "tars"
    _write_pictures(pictures, tars)
    every = [
        Job(task, training("--task", task, "--data", "digits", "--limit", limit,
                           "--epochs", epochs, *SMALL), course)
        for task, (limit, epochs) in TRAININGS.items()
    ]  # fmt: skip

    def pack(out: Path) -> int:
        return xfer("data", "pack", str(pictures), "-o", str(out), "--side", "0", "--raw",
                    "--shard-mb", "1", "-q")  # fmt: skip

    def index(out: Path) -> int:
        from xfer.data.spec import open_spec

        os.environ["XFER_CACHE"] = str(out)
        notes = open_spec(tars).reading.notes
        full = [note for note in notes if "can't be stored" in note]
        for note in full:
            print(f"xfer: {note}", file=sys.stderr)
        return 3 if full else 0

    def features(out: Path) -> int:
        return xfer("features", "--data", str(pictures), "--backbone", "alexnet_bn",
                    "--layer", "pool5", "--weights", f"run:{work / 'whole-classify'}",
                    "--size", "64", "--batch", "8", "--no-cache",
                    "-o", str(out / "f.npz"), "-q")  # fmt: skip

    def fetch(out: Path) -> int:
        from xfer.errors import DataError
        from xfer.exit_codes import ended_by_signals, report
        from xfer.fetch import download

        try:
            with ended_by_signals():
                download(url, out / "w.bin", _Server.sha256)
        except (DataError, KeyboardInterrupt) as error:
            return report(error)
        return 0

    def compress(out: Path) -> int:
        again = ("--overwrite",) if (out / "recipe.toml").is_file() else ()
        return xfer("compress", str(work / "whole-detect"), "--svd", "fc6=8", "--out", str(out),
                    "--workers", "1", "-q", *again)  # fmt: skip

    return [
        *every,
        Job("pack", pack, files),
        Job("index", index, lambda out: files(out / "index")),
        Job("features", features, lambda out: arrays(out / "f.npz")),
        Job("download", fetch, lambda out: files(out / "w.bin")),
        Job("compress", compress, compressed),
    ]


def _write_pictures(pictures: Path, tars: Path) -> None:
    """60 pictures of noise in folders of two classes, and tars of 400 small ones."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    for number in range(60):
        file = pictures / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), rng.integers(0, 256, (160, 160, 3), np.uint8))
    tars.mkdir()
    for shard in range(4):
        with tarfile.open(tars / f"train-{shard}.tar", "w") as tar:
            for number in range(100):
                image = cv2.imencode(".png", rng.integers(0, 256, (8, 8, 3), np.uint8))[1]
                for end, data in (("png", image.tobytes()), ("cls", b"%d" % (number % 2))):
                    member = tarfile.TarInfo(f"{shard}{number:04d}.{end}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


class _Server(BaseHTTPRequestHandler):
    """Sends 8 MB in about a second, from where it is asked to."""

    body = random.Random(0).randbytes(8 << 20)
    sha256 = f"sha256:{digest(body)}"

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        if start >= len(self.body):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(self.body) - start))
        self.end_headers()
        with contextlib.suppress(OSError):  # the reader was killed
            for at in range(start, len(self.body), 1 << 18):
                self.wfile.write(self.body[at : at + (1 << 18)])
                time.sleep(0.03)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


# ---- children: forks, so that torch is imported once


def start(work: Callable[[], int], output: Path) -> int:
    """Runs it in a fork, whose stderr goes to a file; its process id."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        for number in SIGNALS[1:]:
            plain = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, plain)
        status = work()
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(process: int) -> int | None:
    """Its exit code, negative for a signal; None while it runs."""
    done, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def end_of(process: int, output: Path) -> int:
    """Waits for its exit code; PATIENCE seconds at most."""
    end = time.monotonic() + PATIENCE
    while (code := ended(process)) is None:
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
            raise SystemExit(f"a job hangs: {_text(output)}")
        time.sleep(0.002)
    return code


def _text(output: Path) -> str:
    return output.read_text(encoding="utf-8", errors="replace")[-1500:]


def whole(job: Job, out: Path, output: Path) -> None:
    """Does the job undisturbed, twice: the first time imports what this process then has."""
    modules = output.with_suffix(".modules")

    def first() -> int:
        code = job.work(out)
        modules.write_text("\n".join(m for m in sys.modules if "." in m or m in sys.modules))
        return code

    code = end_of(start(first, output), output)
    if code:
        raise SystemExit(f"{job.name}: exit {code}, undisturbed: {_text(output)}")
    for name in modules.read_text().split():
        if not name.startswith("__"):
            with contextlib.suppress(Exception):
                __import__(name)
    job.wanted = job.content(out)
    again = out.with_name(f"{out.name}-again")
    begin = time.monotonic()
    if code := end_of(start(lambda: job.work(again), output), output):
        raise SystemExit(f"{job.name}: exit {code}, undisturbed: {_text(output)}")
    job.seconds = time.monotonic() - begin
    found = unequal(job.wanted, job.content(again))
    if found:
        raise SystemExit(f"{job.name}: two undisturbed ones differ: {found[:5]}")
    remove(again)


def remove(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)


def temporary(out: Path) -> list[str]:
    """Files that are on their way to another name; locks. A download's .part is kept on purpose."""
    with contextlib.suppress(OSError):  # folders change while they are listed
        return [str(p) for p in out.rglob(".*") if p.name.endswith((".tmp", ".lock", ".parts"))
                or re.fullmatch(r"\.[0-9a-f]{32}-.*", p.name)]  # fmt: skip
    return []


def writing(out: Path) -> bool:
    """Whether a file is being written now."""
    names = temporary(out) + [str(path) for path in out.rglob("*.part")]
    return any(not name.endswith((".lock", ".parts")) for name in names)


# ---- disturbances


def kill(job: Job, out: Path, output: Path, moment: float, how: int, aimed: bool) -> int | None:
    """Starts the job and kills it; its exit code, or None if it had ended with success."""
    process = start(lambda: job.work(out), output)
    begin = time.monotonic()
    while time.monotonic() - begin < moment or (aimed and not writing(out)):
        code = ended(process)
        if code is not None:
            if code:
                raise RuntimeError(f"exit {code} before it was killed: {_text(output)}")
            return None
        time.sleep(0.001)
    os.kill(process, how)
    return end_of(process, output) or None


def killed(job: Job, work: Path, kills: int, moments: random.Random, tally: Tally) -> None:
    """Kills it that many times, giving it again until it ends, and compares each end."""
    out, output, done = work / f"killed-{job.name}", work / "killed.txt", 0
    starts = 0
    while done < kills:
        aimed, before = starts % 5 == 4, set(temporary(out))
        starts += 1
        how = signal.SIGKILL if aimed else SIGNALS[tally.kills % len(SIGNALS)]
        try:
            code = kill(job, out, output, moments.uniform(0, 0.9 * job.seconds), how, aimed)
        except RuntimeError as error:
            tally.wrong(f"{job.name}: {error}")
            remove(out)
            done += 1
            continue
        if code is not None:
            done, tally.kills = done + 1, tally.kills + 1
            if code not in (130, -how):
                tally.wrong(f"{job.name}: exit {code} after {how.name}: {_text(output)}")
            elif how != signal.SIGKILL and code == 130 and (left := set(temporary(out)) - before):
                tally.wrong(f"{job.name}: left after {how.name}: {left}")
        if code is None or done == kills:
            compare(job, out, output, "killed", tally, run=code is not None)


def compare(
    job: Job, out: Path, output: Path, what: str, tally: Tally, run: bool = True,
    change: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Gives the job again, if it has not ended, compares what it has made, and removes it."""
    code = 0
    if run:

        def again() -> int:
            change()
            return job.work(out)

        code = end_of(start(again, output), output)
    found = [f"exit {code}: {_text(output)}"] if code else unequal(job.wanted, job.content(out))
    found += [] if code else temporary(out)
    tally.ends += 1
    if found:
        tally.wrong(f"{job.name}, {what}: {found[:5]}")
    remove(out)


def full(job: Job, disk: Path, output: Path, moments: random.Random, tally: Tally) -> None:
    """Does the job on a disk that has room for a random share of what it needs."""
    out = disk / "out"
    size = sum(p.stat().st_size for p in _undisturbed(disk.parent, job).rglob("*") if p.is_file())
    room = int(moments.uniform(0.02, 0.95) * size) // 4096 * 4096 + 4096
    _mount(disk, room)
    try:
        code = end_of(start(lambda: job.work(out), output), output)
        text = _text(output)
        tally.full += 1
        if code and (code != 3 or str(disk) not in text or "Traceback" in text):
            tally.wrong(f"{job.name}, disk of {room} bytes: exit {code}: {text}")
        if left := temporary(out):
            tally.wrong(f"{job.name}, disk of {room} bytes: left {left}")
        _mount(disk, 20 * size + (64 << 20), again=True)
        compare(job, out, output, f"after a full disk of {room} bytes", tally, run=True)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _undisturbed(work: Path, job: Job) -> Path:
    return work / f"whole-{job.name}"


def _mount(disk: Path, size: int, again: bool = False) -> None:
    disk.mkdir(exist_ok=True)
    how = ["-o", f"remount,size={size}"] if again else ["-t", "tmpfs", "-o", f"size={size}"]
    what = [] if again else ["tmpfs"]
    subprocess.run(["mount", *how, *what, str(disk)], check=True, capture_output=True)
    disk.chmod(0o755)  # a cache that others can write is not used


def can_mount(disk: Path) -> bool:
    """Whether this process may mount a small disk."""
    try:
        _mount(disk, 1 << 20)
    except (OSError, subprocess.CalledProcessError):
        return False
    subprocess.run(["umount", "-l", str(disk)], check=True)
    return True


def two(job: Job, work: Path, output: Path, tally: Tally) -> None:
    """Gives the job twice at once: whichever comes second is told, or waits for the first."""
    out, outputs = work / f"two-{job.name}", [output.with_name(f"two-{i}.txt") for i in (1, 2)]
    processes = [start(lambda: job.work(out), one) for one in outputs]
    codes = [end_of(*one) for one in zip(processes, outputs, strict=True)]
    tally.two += 1
    for code, one in zip(codes, outputs, strict=True):
        if code not in (0, 2, 3) or (code and not _text(one).startswith("xfer: ")):
            tally.wrong(f"{job.name}, two at once: exit {code}: {_text(one)}")
    if 0 not in codes:
        tally.wrong(f"{job.name}, two at once: exits {codes}: {[_text(o) for o in outputs]}")
    compare(job, out, output, "two at once", tally, run=False)


def twice(job: Job, work: Path, output: Path, moments: random.Random, tally: Tally) -> None:
    """Sends Ctrl-C twice, measures how long the job takes to end, and gives it again."""
    out = work / f"twice-{job.name}"
    process = start(lambda: job.work(out), output)
    time.sleep(moments.uniform(0.2, 0.9) * job.seconds)
    os.kill(process, signal.SIGINT)
    time.sleep(0.1)
    begin = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGINT)
    code, took = end_of(process, output), time.monotonic() - begin
    tally.twice, tally.slowest = tally.twice + 1, max(tally.slowest, took)
    if took > 5 or code not in (0, 130, -signal.SIGINT):
        tally.wrong(f"{job.name}, Ctrl-C twice: exit {code} after {took:.1f} s: {_text(output)}")
    compare(job, out, output, "Ctrl-C twice", tally)


def clock(job: Job, work: Path, output: Path, moments: random.Random, tally: Tally) -> None:
    """Kills the job and gives it again a day earlier, when its files are of tomorrow."""
    out = work / f"clock-{job.name}"
    kill(job, out, output, moments.uniform(0.2, 0.9) * job.seconds, signal.SIGKILL, False)
    future = time.time() + DAY
    for path in [p for p in out.rglob("*") if p.exists()] if out.is_dir() else []:
        os.utime(path, (future, future))

    def set_back() -> None:
        now = time.time
        time.time = lambda: now() - DAY

    tally.clock += 1
    compare(job, out, output, "with the clock set back", tally, change=set_back)


def two_processes(work: Path, times: int, moments: random.Random, tally: Tally) -> None:
    """Trains with two processes, kills one of them, and resumes with two."""
    limit, epochs = TRAININGS["classify"]
    words = ["--data", "digits", "--limit", limit, "--epochs", epochs, *SMALL]

    def launch(out: Path) -> list[str]:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
                    "--master-port", "0", "--rdzv-backend", "c10d",
                    "--rdzv-endpoint", "localhost:0", "-m", "xfer", "finetune"]  # fmt: skip
        if (out / "recipe.toml").is_file():
            return [*torchrun, "--resume", str(out), "-q"]
        return [*torchrun, *words, "--out", str(out)]

    def run(out: Path) -> None:
        done = subprocess.run(launch(out), capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            tally.wrong(f"two processes: exit {done.returncode}: {done.stderr[-1500:]}")

    wanted = work / "whole-processes"
    run(wanted)
    for number in range(times):
        out = work / f"processes-{number}"
        how = (signal.SIGKILL, signal.SIGTERM)[number % 2]
        process = subprocess.Popen(launch(out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        end = time.monotonic() + PATIENCE
        while not (out / "log.jsonl").is_file() and process.poll() is None:
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 2))
        ranks = _children(process.pid)
        begin = time.monotonic()
        if len(ranks) == 2:
            with contextlib.suppress(ProcessLookupError):
                os.kill(ranks[moments.randrange(2)], how)
        text = process.communicate(timeout=PATIENCE)[0].decode(errors="replace")
        took = time.monotonic() - begin
        tally.processes += 1
        if took > 60:
            tally.wrong(f"two processes: {took:.0f} s to end after {how.name}: {text[-1500:]}")
        if process.returncode:
            run(out)
        found = differences(wanted, out)
        print(f"one of two processes {how.name}: ended in {took:.1f} s; {found[:3] or 'equal'}",
              flush=True)  # fmt: skip
        tally.ends += 1
        if found:
            tally.wrong(f"two processes, one killed: {found[:5]}")
        remove(out)


def _children(process: int) -> list[int]:
    """Its child processes that are Python's."""
    file = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in file.read_text().split()] if file.is_file() else []


# ---- all of it


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """A server on this machine; the address of its file."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as http:
        process = os.fork()  # a thread of this process would be missing in the other forks
        if not process:
            http.serve_forever()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}/w.bin"
        finally:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def disturb(work: Path, kills: int, moments: random.Random, quick: bool) -> Tally:
    """All jobs, with every disturbance."""
    tally, output = Tally(), work / "output.txt"
    with serving() as url:
        every = jobs(work, url)
        if quick:
            every = [job for job in every if job.name in ("classify", "pack", "download")]
        can = can_mount(work / "disk")
        if not can:
            print("no disk can be mounted here: none is filled", flush=True)
        for job in every:
            whole(job, _undisturbed(work, job), output)
            share, slow = max(1, round(kills * SHARES[job.name] / 100)), job.seconds > 8
            before = len(tally.bad)
            killed(job, work, share, moments, tally)
            for _ in range((1 if quick or slow else 4) if can else 0):
                full(job, work / "disk", output, moments, tally)
            two(job, work, output, tally)
            clock(job, work, output, moments, tally)
            twice(job, work, output, moments, tally)
            state = "equal" if len(tally.bad) == before else "WRONG"
            print(f"{job.name}: {job.seconds:.1f} s undisturbed, {share} kills: {state}",
                  flush=True)  # fmt: skip
        if not quick:
            two_processes(work, max(2, kills // 50), moments, tally)
    return tally


def one_training(work: Path, words: Sequence[str], kills: int, moments: random.Random) -> Tally:
    """Only a training of the user's, killed."""
    job, tally = Job("training", training(*words, "-q"), course), Tally()
    whole(job, _undisturbed(work, job), work / "output.txt")
    killed(job, work, kills, moments, tally)
    return tally


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=100)
    parser.add_argument("--kills", type=int, dest="rounds", help="the same as --rounds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (%(default)s)")
    parser.add_argument("--keep", type=Path, help="keep what was made in this folder")
    parser.add_argument("train", nargs="*", help="arguments of xfer finetune, after --")
    options = parser.parse_args()
    kills, moments = 3 if options.quick else options.rounds, random.Random(options.seed)
    print(harness.machine("auto"), flush=True)
    import torch

    torch.set_num_threads(1)  # the forks must find no threads
    work = options.keep or Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    work.mkdir(parents=True, exist_ok=True)
    work, begin = work.absolute(), time.monotonic()
    os.environ["XFER_CACHE"] = str(work / "cache")
    try:
        if options.train:
            tally = one_training(work, options.train, kills, moments)
        else:
            tally = disturb(work, kills, moments, options.quick)
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)
    results = {**vars(tally), "minutes": (time.monotonic() - begin) / 60, "equal": not tally.bad}
    harness.report(results, options.json)
    sys.exit(1 if tally.bad else 0)


if __name__ == "__main__":
    main()
