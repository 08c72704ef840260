"""Kills a job at every moment of its writing, and at random moments; run as a program.

python kill_moments.py pack|index FOLDER   prints {"moments": n, "random": n, "bad": [...]}

A moment is just before or after a file is synced, renamed or removed. The job runs in forked
children, so that its imports happen once; after each kill it runs again, and the folder must then
hold exactly the same bytes as without any kill.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RANDOM = 10
Work = Callable[[Path], None]


def child(work: Callable[[], None]) -> int:
    """Runs it in a fork; returns its exit status, 0 for success."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(process, 0)[1]


def die_at(moment: int) -> None:
    """Makes this process kill itself at the given moment of its writing, counted from 1."""
    seen = 0

    def tick() -> None:
        nonlocal seen
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            tick()
            done = real(*args, **kwargs)
            tick()
            return done

        setattr(owner, name, call)

    for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "rename"), (Path, "unlink"),
                        (shutil, "rmtree")):  # fmt: skip
        wrap(owner, name)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path, except locks; folders as empty files."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b""
        for p in sorted(folder.rglob("*")) if p.suffix != ".lock"
    }  # fmt: skip


def check(work: Work, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    start = time.monotonic()
    assert child(lambda: work(folder / "whole")) == 0
    took = time.monotonic() - start
    wanted, bad, moments = content(folder / "whole"), list[str](), 0

    def again(what: str) -> None:
        if child(lambda: work(folder / "x")) != 0:
            bad.append(f"{what}: the second start failed")
        elif content(folder / "x") != wanted:
            found = content(folder / "x")
            keys = [k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k)]
            bad.append(f"{what}: different content: {sorted(keys)}")
        shutil.rmtree(folder / "x", ignore_errors=True)

    while True:
        moment = moments + 1

        def killed(moment: int = moment) -> None:
            die_at(moment)
            work(folder / "x")

        if child(killed) == 0:  # there are no more moments
            break
        moments = moment
        again(f"moment {moment}")
    shutil.rmtree(folder / "x")
    rng = random.Random(0)
    for number in range(RANDOM):
        process = os.fork()
        if process == 0:
            work(folder / "x")
            os._exit(0)
        time.sleep(rng.uniform(0, took))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        again(f"random {number}")
    return {"moments": moments, "random": RANDOM, "bad": bad}


def packing(folder: Path) -> Work:
    import numpy as np

    import xfer.data.pack.writer as packing
    from xfer.data.sources.base import ArraySource
    from xfer.types import DataInfo

    packing.AT_ONCE = 4
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 160, 160, 3), np.uint8)  # 77 KB each, 14 per shard
    info = DataInfo("noise", "classify", ("a", "b"), "train")
    source = ArraySource(info, images, np.arange(30) % 2, [str(i) for i in range(30)])

    def work(out: Path) -> None:
        packing.pack(source, out, packing.Packing(side=0, raw=True, shard_mb=1))

    return work


def index(folder: Path) -> Work:
    import scipy.io  # noqa: F401 (here, so that the forks need not import it)
    from imagenet_sets import write_tars

    from xfer.data.readers.imagenet.tars import read_tars

    tars = write_tars(folder.with_name("tars"))

    def work(out: Path) -> None:
        os.environ["XFER_CACHE"] = str(out)
        parts = read_tars(tars)
        assert {k: len(v) for k, v in parts.items()} == {"train": 15, "val": 5}
        assert len(parts["train"][3].image.shape) == 3

    return work


if __name__ == "__main__":
    kind, place = sys.argv[1], Path(sys.argv[2])
    print(json.dumps(check({"pack": packing, "index": index}[kind](place), place)))
