"""What is looked at in a browser: `xfer report` writes pages, `xfer serve` is one that answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.completion import runs
from xfer.cli.flags import Device, Tta, out_option
from xfer.cli.output import Show
from xfer.exit_codes import complain
from xfer.recipe.tables import FIELDS, checked


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


def serve(
    show: Show,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            show_default=False,
            autocompletion=runs,
            help="a run folder, or a FILE.onnx of one",
        ),
    ],
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="port; 0: any that is free")
    ] = 8765,
    host: Annotated[
        str,
        typer.Option(
            metavar="H", help="address to listen at; 0.0.0.0: whoever reaches this machine"
        ),
    ] = "127.0.0.1",
    tta: Tta = "",
    device: Device = "auto",
) -> None:
    """Show predictions on a local page.

    Drop a picture on the page, or send it to /predict as the field `file` of a
    form; the answer is what predict prints as JSON. Ctrl-C ends it.

    Examples:
        xfer serve runs/NAME               http://127.0.0.1:8765/
        xfer serve runs/NAME --port 0      at any free port
        curl -F file=@a.jpg http://127.0.0.1:8765/predict
    """
    if tta:
        checked("--tta", tta, FIELDS["eval.tta"])
    from xfer.serving.server import Started
    from xfer.serving.server import serve as run_server

    def started(server: Started) -> None:
        if not server.loopback:
            show.note(
                "warning: whoever reaches this machine can use this server; it knows no passwords"
            )
        if show.json:
            show.document(
                {"url": server.url, "run": server.title, "predict": server.url + "predict"}
            )
        else:
            show.note(f"{server.title}: {server.line}")
            show.text(f"{server.url}  (Ctrl-C ends it)")

    run_server(
        run, host=host, port=port, tta=tta, device=device, started=started,
        log=show.note if show.verbosity > 0 else None, complain=complain,
    )  # fmt: skip
