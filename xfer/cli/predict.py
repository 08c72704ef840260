"""`xfer predict`: predicts on new pictures; prints, writes or draws the result."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.flags import Batch, Device, Part, RunFolder, SkipBad, Tta, out_option
from xfer.cli.output import Show
from xfer.errors import DataError, XferError, printable
from xfer.exit_codes import apart, complain, is_main
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
    out: Annotated[
        Path | None,
        out_option("write here instead of printing: a FILE, with --part a folder", "FILE"),
    ] = None,
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
    part: Part = "",
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
        xfer predict runs/NAME pictures/ --format csv --out predictions.csv
        xfer predict runs/NAME pictures/ --format csv --part 0/8 --out predictions/
    """
    if format not in ("table", "json", "csv", "coco"):
        raise XferError(f"--format {format}: unknown", "choose table, json, csv or coco")
    if tta:
        checked("--tta", tta, FIELDS["eval.tta"])
    for folder in (draw, explain):
        if folder is not None:
            check_folder(folder)
    if show.json and out is None:
        if format == "csv":
            raise XferError("--json and --format csv: only one of them can be printed")
        format = "coco" if format == "coco" else "json"
    from xfer.inference.to_files import Output, predict_files
    from xfer.kinds.findings import counted  # here, because it imports numpy
    from xfer.parts.part import parse_part

    output = Output(
        format, out, draw, explain, min_score, lambda text: sys.stdout.write(printable(text))
    )
    own = str(parse_part(part)) if part else ""
    with apart() if part.startswith("auto") else nullcontext():
        done = predict_files(
            run, paths, output, part=own, tta=tta, device=device, batch=batch, calibrated=calibrated
        )
        if done.finished and show.json:
            show.document(done.document())
            return
        if done.finished:
            show.text(f"{done.path}: part {own} is there already")
            return
        for line in done.notes:
            show.note(line)
        if not done.read:
            _end(show, done.skipped, 0, skip_bad)
        if draw is not None:
            show.note(f"{counted(done.read, 'picture', 'pictures')} drawn in {draw}")
        if explain is not None:
            number = done.read - len(done.unexplained)
            show.note(f"{counted(number, 'explanation', 'explanations')} drawn in {explain}")
            for name, reason in done.unexplained:
                show.note(f"not explained: {name}: {reason}")
        if format == "table":
            show.table(done.table)
        elif done.path is not None and show.json:
            show.document(done.document())
        elif done.path is not None:
            show.text(f"{done.path}: predictions of {counted(done.read, 'picture', 'pictures')}")
        _end(show, done.skipped, done.read, skip_bad)


def _end(show: Show, skipped: Sequence[tuple[str, str]], read: int, skip_bad: bool) -> None:
    """Lists the files that can't be read. Raises DataError for them unless they may be left out, or
    if nothing is left."""
    if not skipped:
        return
    sys.stdout.flush()  # so that the list follows the predictions on a terminal
    if skip_bad and read:
        show.left_out(skipped)
        return
    for name, reason in skipped if is_main() else ():
        complain(f"{name}: {reason}")
    what = "its prediction is" if read == 1 else f"predictions of the other {read} are"
    hint = f"{what} complete; --skip-bad leaves such files out" if read else None
    total = read + len(skipped)
    raise DataError(f"{len(skipped)} of {total} pictures can't be read", hint)
