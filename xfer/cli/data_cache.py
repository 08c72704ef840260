"""`xfer data cache`: what is cached between runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from xfer.cli.output import Show


def cache(
    show: Show,
    clear: Annotated[
        bool, typer.Option("--clear", help="delete everything", show_default=False)
    ] = False,
) -> None:
    """Show or clear what features and selective search keep in $XFER_CACHE.

    Examples:
        xfer data cache
        xfer data cache --clear
    """
    from xfer.cache import cache_states

    states = {
        subject: {**asdict(state), "path": str(state.path)}
        for subject, state in cache_states(show.note, clear).items()
    }
    if clear:
        show.note("cleared")
    if show.json:
        # the keys of features are at the top level, as before proposals were cached too
        features = states.pop("features")
        show.document({**features, **states, "cleared": clear})
        return
    show.table(
        [{"kept": subject, "path": state["path"], "entries": state["entries"],
          "MB": f"{state['mb']:,.1f}", "limit, MB": round(state["limit_mb"])}
         for subject, state in states.items()]
    )  # fmt: skip
