"""`xfer report`: the page of a run, or one that compares several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.completion import runs
from xfer.cli.flags import Device, out_option
from xfer.cli.output import Show


def report(
    show: Show,
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            show_default=False,
            help="a run folder; several are compared",
            autocompletion=runs,
        ),
    ],
    out: Annotated[
        Path | None,
        out_option("the page; default: RUN/report.html, or comparison.html here", "FILE"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Write the page of a run anew, or one that compares several.

    Scores, errors, curves, recipe and data in one HTML file that needs no network.
    Several runs are compared on the same pictures, seeds as mean and deviation.

    Examples:
        xfer report runs/NAME                            runs/NAME/report.html
        xfer report runs/A runs/B -o comparison.html
    """
    if len(folders) == 1:
        from xfer.report.page import write_report
        from xfer.runs.card import write_card

        path = write_report(folders[0], out, device=device)
        if out is None:  # of older runs, which have none
            write_card(Path(folders[0]))
    else:
        from xfer.report.comparison import write_comparison

        path = write_comparison(folders, out)
    if show.json:
        show.document({"report": str(path)})
        return
    show.text(f"{path}: open it in a browser")
