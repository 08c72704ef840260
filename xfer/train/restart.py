"""What started this process: restarts by torchrun, and which run then goes on; SLURM's tasks.

If one of its processes dies, torchrun stops the others and runs the same command again
(--max-restarts). The command then continues the run it had started, from its last/.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from xfer.device import Place, broadcast
from xfer.errors import XferError
from xfer.recipe.tables import Recipe, differences
from xfer.runs.folder import Run


def launch() -> str | None:
    """Text that identifies a launch of torchrun and survives restarts; None without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name in ("", "none"):  # without --rdzv-id: our parent is torchrun itself
        return f"{socket.gethostname()} {os.getppid()}"
    return name


def restarted() -> bool:
    """Whether torchrun has restarted this process."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0) > 0


def run_to_continue(recipe: Recipe, out: Path | None, place: Place) -> Run | None:
    """The run that this command started before the restart; None if it had not got that far.

    Args: recipe, out: of the command. Every process gets the answer of rank 0.
    """
    path = _folder_to_continue(recipe, out) if place.main else None
    path = broadcast(path, place)
    return None if path is None else Run(path)


def _folder_to_continue(recipe: Recipe, out: Path | None) -> Path | None:
    if out is not None:
        run = Run(out)
        same = run.exists and not run.finished and not differences(run.recipe(), recipe)
        return out if same or _is_ours(run) else None
    return next((path for path in sorted(Path("runs").glob("*")) if _is_ours(Run(path))), None)


def _is_ours(run: Run) -> bool:
    """Whether a run's env.json records this launch of torchrun."""
    try:
        return run.exists and run.read_json("env.json").get("launch") == launch()
    except XferError:  # it has none yet
        return False


def unused_tasks() -> str:
    """A line if SLURM has given this job several tasks, of which one process makes no use."""
    tasks = int(os.environ.get("SLURM_NTASKS") or 1)
    if tasks < 2 or "RANK" in os.environ:
        return ""
    return f"SLURM has given this job {tasks} tasks, but one process runs: torchrun starts several"
