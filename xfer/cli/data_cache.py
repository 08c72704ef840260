"""`xfer data cache`: what is kept from run to run, so that it is not computed again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from xfer.cli.output import Show


def cache(
    show: Show,
    clear: Annotated[
        bool, typer.Option("--clear", help="forget all of it", show_default=False)
    ] = False,
) -> None:
    """Show what `xfer features` and selective search keep under $XFER_CACHE, or clear it."""
    from xfer.cache import cache_states

    states = {
        subject: {**asdict(state), "path": str(state.path)}
        for subject, state in cache_states(show.note, clear).items()
    }
    if clear:
        show.note("cleared")
    if show.json:
        # the features' own keys stand at the top, where they were before proposals were kept
        own = states.pop("features")
        show.document({**own, **states, "cleared": clear})
        return
    show.table(
        [{"kept": subject, "path": state["path"], "entries": state["entries"],
          "MB": round(state["mb"], 1), "limit, MB": round(state["limit_mb"])}
         for subject, state in states.items()]
    )  # fmt: skip
