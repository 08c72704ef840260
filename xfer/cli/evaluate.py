"""`xfer eval`: scores a run, or another tool's detections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.data_keys import Set, reading_keys
from xfer.cli.flags import (
    Batch,
    Data,
    Device,
    NoVerify,
    Overwrite,
    RunFolder,
    ScoredSplit,
    SkipBad,
    Tta,
    Workers,
    out_option,
    varied,
)
from xfer.cli.output import Show, calibration_line, interval_line
from xfer.errors import XferError
from xfer.recipe.tables import FIELDS, checked

AnyBatch = Annotated[int, varied(Batch, min=0, help="pictures at a time; 0: the run's own")]


def evaluate(
    show: Show,
    run: Annotated[Path | None, varied(RunFolder, metavar="[RUN]")] = None,
    data: Data = "",
    detections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False,
            help="instead of RUN: a COCO results json from any tool, scored against --data "
            "(coco:FILE.json needs no pictures); or a panoptic json, its PNGs in FILE/ "
            "(panoptic:FILE.json)",
        ),
    ] = None,
    split: ScoredSplit = "",
    tta: Tta = "",
    model: Annotated[
        str,
        typer.Option(
            metavar="FILE", show_default=False,
            help="score this ONNX file of the run (`xfer export`), through ONNX Runtime",
        ),
    ] = "",
    precision: Annotated[
        str,
        typer.Option(
            metavar="TEXT", show_default=False, rich_help_panel="Machine",
            autocompletion=lambda: ["fp32", "bf16", "fp16"],
            help="fp32, bf16 or fp16; default: the run's own",
        ),
    ] = "",
    batch: AnyBatch = 0,
    device: Device = "auto",
    workers: Workers = -1,
    out: Annotated[
        Path | None, out_option("with --detections: a folder for result.json and plots/")
    ] = None,
    overwrite: Overwrite = False,
    skip_bad: SkipBad = False,
    no_verify: NoVerify = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="fit a temperature to the run's val split and keep it in the run, for `xfer "
            "predict --calibrated` with runs of older versions",
        ),
    ] = False,
    set: Set = [],  # noqa: B006 (typer copies it)
) -> None:  # fmt: skip
    """Score a run, or another tool's detections.

    A run's best weights are scored on the pictures of its own val split, whatever
    has been added since, or on --data of the same classes. With --detections, a
    COCO results file is scored instead.

    Examples:
        xfer eval runs/NAME                              its own val split
        xfer eval runs/NAME --split test --tta 10crop
        xfer eval runs/NAME --data more/                 other pictures, the same classes
        xfer eval --detections results.json --data coco:annotations.json
    """
    if precision:
        checked("--precision", precision, FIELDS["run.precision"])
    if tta:
        checked("--tta", tta, FIELDS["eval.tta"])
    keys = reading_keys(set, ("changes",))
    if keys and not data:
        raise XferError("--set says how to read --data, which is not given", "--data SPEC")
    verify = reading_keys([], no_verify=no_verify)
    if detections is not None:
        of_runs = (run is not None, tta, batch, model, precision, device != "auto", workers != -1)
        if any(of_runs) or calibrate:
            raise XferError(
                "--detections scores a file: leave out RUN, --tta, --model, --precision, --batch, "
                "--device, --workers and --calibrate",
                "xfer eval --help",
            )
        if not data:
            raise XferError("no data given to score against", "--data SPEC, or coco:FILE.json")
        from xfer.inference.score_file import score_detections

        result = score_detections(
            detections,
            data,
            split=split,
            out=out,
            overwrite=overwrite,
            data_keys=keys | ({"skip_bad": True} if skip_bad else {}) | verify,
            say=show.note,
        )
    elif run is None:
        raise XferError("nothing to score", "xfer eval RUN, or --detections FILE --data SPEC")
    elif out is not None or overwrite:
        raise XferError(
            "--out and --overwrite need --detections", "--json prints a run's scores as a document"
        )
    else:
        from xfer.inference.evaluate import evaluate as score

        result = score(
            run,
            data=data,
            split=split,
            tta=tta,
            model=model,
            precision=precision,
            batch=batch,
            device=device,
            workers=workers,
            skip_bad=skip_bad,
            verify=not no_verify,
            calibrate=calibrate,
            data_keys=keys,
            say=show.note,
        )
    show.left_out(result.get("skipped", ()))
    if show.json:
        show.document(result)
        return
    show.text(f"{result['data']}, {result['split']}: {result['images']} pictures")
    metrics: dict[str, Any] = result["metrics"]
    numbers = {k: v for k, v in metrics.items() if not isinstance(v, (dict, list))}
    show.table([{"metric": key, "value": value} for key, value in numbers.items()])
    if "interval" in result:
        show.text(interval_line(result["primary"], result["interval"]))
    if "calibration" in result:
        show.text(calibration_line(result["calibration"]))
    if calibrate:
        show.note(f"temperature {result['calibration']['temperature']:.4g} written to {run}")
    lists: dict[str, list[str]] = {k: v for k, v in metrics.items() if isinstance(v, list)}
    for key, names in lists.items():
        if names:
            show.text(f"{key.replace('_', ' ')}: {', '.join(names)}")
    costs: dict[str, Any] = metrics.get("errors", {})
    if costs:
        counts = metrics["error_counts"]
        rows = [{"error": k, "costs AP50": v, "boxes": counts[k]} for k, v in costs.items()]
        show.table(rows)
    for key, value in result["protocol"].items():
        show.note(f"{key}: {value}")
