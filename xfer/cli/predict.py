"""`xfer predict`: predicts on new pictures; prints, writes or draws the result."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.flags import Batch, Device, RunFolder, SkipBad, Tta
from xfer.cli.output import Show
from xfer.errors import DataError, XferError
from xfer.exit_codes import complain
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
        typer.Option(metavar="DIR", show_default=False, help="also draw <stem>.png here"),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="also draw <stem>_grad_cam.png here: where in the picture the predicted class, "
            "or the surest box, was found (Grad-CAM)",
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="F",
            help="table, json, csv, or, for boxes, coco: COCO results; image_id: the file's stem "
            "if it is a number, else its name; category_id: as in the COCO file trained on, else "
            "1 for the first class",
        ),
    ] = "table",
    min_score: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            show_default=False,
            min=0,
            max=1,
            help="lowest score of boxes or segments; default: all in json, csv and coco, for "
            "boxes 0.5 in tables and drawings (drawings: the best few if none reaches it)",
        ),
    ] = None,
    tta: Tta = "",
    device: Device = "auto",
    batch: Batch = 32,
    skip_bad: SkipBad = False,
    calibrated: Annotated[
        bool,
        typer.Option(
            "--calibrated",
            help="probabilities at the temperature that was fitted to the run's val split "
            "(classify); the order of classes stays",
        ),
    ] = False,
) -> None:
    """Predict on new pictures.

    Files that can't be read are listed after the others are predicted, and the
    exit code is 3; with --skip-bad it is 0.

    Examples:
        xfer predict runs/NAME a.jpg b.jpg               a table
        xfer predict runs/NAME pictures/ --draw drawn/   labels, boxes or masks on them
        xfer predict runs/NAME pictures/ --format csv > predictions.csv
    """
    if format not in ("table", "json", "csv", "coco"):
        raise XferError(f"--format {format}: unknown", "choose table, json, csv or coco")
    if tta:
        checked("--tta", tta, FIELDS["eval.tta"])
    for folder in (draw, explain):
        if folder is not None:
            check_folder(folder)
    from xfer.inference.model import predict as run_predict
    from xfer.kinds.findings import counted  # here, because it imports numpy

    predictions = run_predict(
        run, paths, tta=tta, device=device, batch=batch, skip_bad=True, calibrated=calibrated
    )
    for finding in predictions.findings:
        show.note(f"warning: {finding.text}")
    if not len(predictions):
        _end(show, predictions.skipped, 0, skip_bad)
    if min_score is not None:
        predictions = predictions.at_least(min_score)
    if draw is not None:
        count = len(predictions.draw(draw, min_score))
        show.note(f"{count} picture{'s' * (count != 1)} drawn in {draw}")
    if explain is not None:
        written, unexplained = predictions.explain(explain)
        show.note(f"{counted(len(written), 'explanation', 'explanations')} drawn in {explain}")
        for name, reason in unexplained:
            show.note(f"not explained: {name}: {reason}")
    if format == "coco":
        show.document(predictions.to_coco())
    elif show.json or format == "json":
        show.document(predictions.to_json())
    elif format == "csv":
        show.raw(predictions.to_csv().rstrip("\n"))
    else:
        show.table(predictions.to_table(min_score))
    _end(show, predictions.skipped, len(predictions), skip_bad)


def _end(show: Show, skipped: Sequence[tuple[str, str]], read: int, skip_bad: bool) -> None:
    """Lists the files that can't be read. Raises DataError for them unless they may be left out, or
    if nothing is left."""
    if not skipped:
        return
    sys.stdout.flush()  # so that the list follows the predictions on a terminal
    if skip_bad and read:
        show.left_out(skipped)
        return
    for name, reason in skipped:
        complain(f"{name}: {reason}")
    what = "its prediction is" if read == 1 else f"predictions of the other {read} are"
    hint = f"{what} complete; --skip-bad leaves such files out" if read else None
    total = read + len(skipped)
    raise DataError(f"{len(skipped)} of {total} pictures can't be read", hint)
