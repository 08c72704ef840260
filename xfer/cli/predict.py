"""`xfer predict`: a run's predictions on new pictures, printed, written or drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.flags import Batch, Device, RunFolder, Tta
from xfer.cli.output import Show
from xfer.errors import XferError
from xfer.files import check_folder
from xfer.recipe.tables import FIELDS, checked


def predict(
    show: Show,
    run: RunFolder,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", show_default=False, help="pictures and folders"),
    ],
    draw: Annotated[
        Path | None,
        typer.Option(metavar="DIR", show_default=False, help="also draw <stem>.png there"),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="F",
            help="table, json, csv, or of boxes coco: COCO results, image_id the number that the "
            "file's stem is, else its name, category_id as in the COCO file trained on, else 1 "
            "for the first class",
        ),
    ] = "table",
    min_score: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            show_default=False,
            min=0,
            max=1,
            help="boxes of at least this score; when left out json, csv and coco have all, tables "
            "and drawings those of 0.5 (drawings the best few where there is none)",
        ),
    ] = None,
    tta: Tta = "",
    device: Device = "auto",
    batch: Batch = 32,
) -> None:
    """Predict on new pictures with a run's best weights."""
    if format not in ("table", "json", "csv", "coco"):
        raise XferError(f"--format {format}: unknown", "choose table, json, csv or coco")
    if tta:
        checked("--tta", tta, FIELDS["eval.tta"])
    if draw is not None:
        check_folder(draw)
    from xfer.inference.model import predict as look

    found = look(run, paths, tta=tta, device=device, batch=batch)
    if min_score is not None:
        found = found.at_least(min_score)
    if draw is not None:
        show.note(f"drawn in {draw}: {len(found.draw(draw, min_score))}")
    if format == "coco":
        show.document(found.to_coco())
    elif show.json or format == "json":
        show.document(found.to_json())
    elif format == "csv":
        show.text(found.to_csv().rstrip("\n"))
    else:
        show.table(found.to_table(min_score))
