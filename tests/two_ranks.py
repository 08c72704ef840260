"""Two processes that work together, started as torchrun would, without it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, and what it printed on stderr."""

    code: int
    said: str


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def two_ranks(
    folder: Path, script: str, *words: str, own: tuple[dict[str, str], ...] = ({}, {})
) -> list[Ended]:
    """Runs a script as ranks 0 and 1 on this machine.

    Args: own: variables of each one's environment.
    """
    file = folder / "ranks.py"
    file.write_text(script)
    here = Path(__file__).parent
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, str(file), *words], stderr=subprocess.PIPE, text=True, cwd=folder,
            env={
                **os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
                "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                "LOCAL_WORLD_SIZE": "2", **own[rank],
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=240)[1] for process in processes]
    return [Ended(p.returncode, text) for p, text in zip(processes, said, strict=True)]
