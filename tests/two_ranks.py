"""Processes that work together, started as torchrun would, without it.

Importing torch and xfer takes seconds of each process: one that has done so once is asked to fork
the others, each of which runs its script from the top.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMIT = 240  # seconds


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (minus the signal that killed it), and its stderr."""

    code: int
    said: str


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def two_ranks(
    folder: Path, script: str, *words: str, own: tuple[dict[str, str], ...] = ({}, {})
) -> list[Ended]:
    """Runs a script as ranks 0 and 1 on this machine, in a folder.

    Args: own: variables of each one's environment; as many processes as there are of these.
    """
    file = folder / "ranks.py"
    file.write_text(script)
    world, port = str(len(own)), str(free_port())
    asked: list[dict[str, Any]] = [
        {
            "file": str(file), "words": words, "folder": str(folder),
            "said": str(folder / f"said-by-{rank}"),
            "environment": {
                **os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port, "RANK": str(rank), "LOCAL_RANK": str(rank),
                "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, **variables,
            },
        }
        for rank, variables in enumerate(own)
    ]  # fmt: skip
    process = _parent()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(asked) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    assert answer, "the process that forks has ended"
    codes = json.loads(answer)
    said = [Path(one["said"]).read_text() for one in asked]
    return [Ended(code, text) for code, text in zip(codes, said, strict=True)]


_started: list[subprocess.Popen[str]] = []


def _parent() -> subprocess.Popen[str]:
    """The process that forks; it ends when its stdin does, so with this one."""
    if not _started or _started[0].poll() is not None:
        paths = os.pathsep.join([str(HERE), str(HERE.parent)])
        _started[:] = [
            subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            )
        ]  # fmt: skip
        atexit.register(_end, _started[0])
    return _started[0]


def _end(process: subprocess.Popen[str]) -> None:
    process.communicate()


def _fork(file: str, words: list[str], folder: str, said: str, environment: dict[str, str]) -> int:
    """The number of a process that runs the script, and ends as any other."""
    process = os.fork()
    if process:
        return process
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.alarm(LIMIT)  # one that hangs is killed
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(2, 1)
    sys.argv = [file, *words]
    runpy.run_path(file, run_name="__main__")
    sys.exit()


def _serve() -> None:
    import xfer.api
    import xfer.cli.app
    import xfer.train.loop  # noqa: F401
    from xfer import task

    for name in task.names():
        task.get(name)
    for line in sys.stdin:
        processes = [_fork(**one) for one in json.loads(line)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in processes]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    _serve()
