"""Restarts by torchrun: which run a restarted process goes on with.

When one of its processes dies, torchrun ends the others and gives the same command again
(--max-restarts). The command then goes on with the run that it began, from its last/.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from xfer.device import Place, share
from xfer.errors import XferError
from xfer.recipe.tables import Recipe, differences
from xfer.runs.folder import Run


def launch() -> str | None:
    """Text that is the same after a restart and another one for other starts; None without
    torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name in ("", "none"):  # --rdzv-id was not given: our parent is torchrun itself
        return f"{socket.gethostname()} {os.getppid()}"
    return name


def restarted() -> bool:
    """Whether torchrun has started this process again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0) > 0


def begun(recipe: Recipe, out: Path | None, place: Place) -> Run | None:
    """The run that this command began before it was restarted; None: it had not come so far.

    Args: recipe, out: as the command has them. Every process gets the answer of the first.
    """
    path = _begun(recipe, out) if place.main else None
    path = share(path, place)
    return None if path is None else Run(path)


def _begun(recipe: Recipe, out: Path | None) -> Path | None:
    if out is not None:
        run = Run(out)
        same = run.exists and not run.finished and not differences(run.recipe(), recipe)
        return out if same or _is_ours(run) else None
    return next((path for path in sorted(Path("runs").glob("*")) if _is_ours(Run(path))), None)


def _is_ours(run: Run) -> bool:
    """Whether a run's env.json tells of this start of torchrun."""
    try:
        return run.exists and run.read_json("env.json").get("launch") == launch()
    except XferError:  # it has none yet
        return False
