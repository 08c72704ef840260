"""`xfer eval` and `xfer predict`: what a trained run is used for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.completion import runs
from xfer.cli.flags import Data
from xfer.cli.output import Show
from xfer.errors import XferError
from xfer.files import check_folder
from xfer.recipe.tables import FIELDS, checked

RunFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", show_default=False, autocompletion=runs, help="a run folder",
    ),
]  # fmt: skip
Tta = Annotated[
    str,
    typer.Option(
        "--tta", metavar="VIEWS", show_default=False,
        help="views averaged: none, flip or 10crop; the run's own when left out",
    ),
]  # fmt: skip
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps")
]


def evaluate(
    show: Show,
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", show_default=False, autocompletion=runs, help="a run folder",
        ),
    ] = None,
    data: Data = "",
    detections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False,
            help="instead of RUN: a COCO results json of any tool, scored against --data "
            "(coco:FILE.json needs no pictures)",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            metavar="S", show_default=False,
            help="val, test or train; val where there is one when left out",
        ),
    ] = "",
    tta: Tta = "",
    batch: Annotated[
        int, typer.Option(metavar="N", min=0, help="pictures at a time; 0: the run's own")
    ] = 0,
    device: Device = "auto",
    workers: Annotated[
        int, typer.Option(metavar="N", min=-1, help="loader threads; -1: one a core, 0: in line")
    ] = -1,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", show_default=False,
            help="with --detections: a folder for result.json and plots/",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", show_default=False, help="replace a result in --out")
    ] = False,
) -> None:  # fmt: skip
    """Score a run's best weights, on its own data or on others of the same classes.

    With --detections: score boxes that any tool has found.
    """
    if tta:
        checked("--tta", tta, FIELDS["eval.tta"])
    if detections is not None:
        if run is not None or tta or batch or device != "auto" or workers != -1:
            raise XferError("--detections scores a file: no RUN, no net", "xfer eval --help")
        if not data:
            raise XferError("no data given to compare with", "--data SPEC, or coco:FILE.json")
        from xfer.inference.score_file import score_detections

        result = score_detections(
            detections, data, split=split, out=out, overwrite=overwrite, say=show.note
        )
    elif run is None:
        raise XferError("nothing to score", "xfer eval RUN, or --detections FILE --data SPEC")
    elif out is not None or overwrite:
        raise XferError(
            "--out goes with --detections", "--json prints a run's scores as a document"
        )
    else:
        from xfer.inference.evaluate import evaluate as score

        result = score(
            run, data=data, split=split, tta=tta, batch=batch, device=device, workers=workers
        )
    if show.json:
        show.document(result)
        return
    show.text(f"{result['data']}, {result['split']}: {result['images']} pictures")
    metrics: dict[str, Any] = result["metrics"]
    numbers = {k: v for k, v in metrics.items() if not isinstance(v, (dict, list))}
    show.table([{"metric": key, "value": value} for key, value in numbers.items()])
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
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="pictures at a time")] = 32,
) -> None:
    """Say what is in pictures, by a run's best weights."""
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
