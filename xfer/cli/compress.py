"""`xfer compress`: compresses a run's fully connected layers by truncated SVD."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.flags import (
    SPEC,
    Data,
    Device,
    NoVerify,
    Overwrite,
    RunFolder,
    ScoredSplit,
    SkipBad,
    Workers,
    out_option,
    varied,
)
from xfer.cli.output import Show

ScoredData = Annotated[str, varied(Data, help=f"data to score on; default: the run's own. {SPEC}")]


def compress(
    show: Show,
    run: RunFolder,
    svd: Annotated[
        str,
        typer.Option(
            metavar="LAYER=N,...|auto[:SHARE]", show_default=False,
            help="singular values to keep in each layer: fc6=1024,fc7=256; auto: as few as keep "
            "0.9 of each large layer's energy (the sum of their squares), auto:0.8 of 0.8",
        ),
    ],
    out: Annotated[Path, out_option("the new run's folder")],
    data: ScoredData = "",
    split: ScoredSplit = "",
    device: Device = "auto",
    workers: Workers = -1,
    overwrite: Overwrite = False,
    skip_bad: SkipBad = False,
    no_verify: NoVerify = False,
) -> None:  # fmt: skip
    """Compress a run's fully connected layers by truncated SVD.

    The method is that of Fast R-CNN, sec. 3.1. The result is a run like any
    other; accuracy and time are shown before and after.

    Examples:
        xfer compress runs/NAME --svd fc6=1024,fc7=256 -o runs/small
        xfer compress runs/NAME --svd auto:0.8 -o runs/small --data photos/
    """
    from xfer.inference.compress import compress as work

    report = work(
        run, svd, out, data=data, split=split, device=device, workers=workers,
        overwrite=overwrite, skip_bad=skip_bad,
        verify=not no_verify, say=show.note,
    )  # fmt: skip
    show.left_out(report["skipped"])
    if show.json:
        show.document(report)
        return
    primary = report["primary"]
    ranks = ", ".join(f"{layer}={rank}" for layer, rank in report["svd"].items())
    show.text(f"{report['data']}, {report['split']}: {report['images']} pictures; {out}; {ranks}")
    show.table([
        {
            "model": name, primary: report[name]["metrics"][primary],
            "ms per picture": round(1000 * report[name]["seconds_per_image"], 1),
            "million weights": round(report[name]["parameters"] / 1e6, 2),
        }
        for name in ("before", "after")
    ])  # fmt: skip
