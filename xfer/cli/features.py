"""`xfer features`: what a frozen net sees, written to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.flags import Batch, Data, Pool, Size, SkipBad, out_option, varied
from xfer.cli.output import Show

FLAGS = ("backbone", "weights", "train", "val", "test", "limit", "seed", "device", "precision",
         "workers")  # fmt: skip
FeaturePool = Annotated[str, varied(Pool, rich_help_panel="Features")]
FeatureSize = Annotated[int, varied(Size, rich_help_panel="Features")]


def _option(*names: str, help: str, metavar: str = "WORD", panel: str = "Features") -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel)


def features(
    show: Show,
    given: dict[str, Any],
    layer: Annotated[
        list[str],
        _option("--layer", "-l", metavar="L[,L]", help="layers, as `xfer models show` names them"),
    ],
    data: Data,
    out: Annotated[Path, out_option("FILE.npz or FILE.parquet", "FILE", "Output")],
    pool: FeaturePool = "flatten",
    crops: Annotated[
        str, _option("--crops", help="parts of a picture: centre, flip, 10crop")
    ] = "centre",
    views: Annotated[
        str, _option("--views", help="several parts are averaged or put side by side: mean, concat")
    ] = "mean",
    normalise: Annotated[
        str, _option("--normalise", help="each vector: none, l2, power, power-l2")
    ] = "none",
    dtype: Annotated[str, _option("--dtype", help="float32 or float16")] = "float32",
    size: FeatureSize = 0,
    batch: Batch = 64,
    skip_bad: SkipBad = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", show_default=False, rich_help_panel="Machine",
            help="compute all; keep nothing under $XFER_CACHE",
        ),
    ] = False,
) -> None:  # fmt: skip
    """Write what a frozen net sees: `xfer features -l pool5 --data photos/ -o f.npz`.

    With --skip-bad, all pictures are looked at before the first is computed.
    """
    from xfer.extraction.extract import Form, extract
    from xfer.extraction.net import Choice, layer_names

    words = {key.rpartition(".")[2]: value for key, value in given.items()}
    own = {k: words.pop(k) for k in ("backbone", "weights", "device", "precision") if k in words}
    choice = Choice(
        **own, layers=layer_names(",".join(layer)), pool=pool, crops=crops, views=views, size=size
    )
    done = extract(
        data, out, choice=choice, form=Form(dtype, normalise), batch=batch, cache=not no_cache,
        skip_bad=skip_bad, say=show.note, **words,
    )  # fmt: skip
    counts = done.counts()
    if show.json:
        show.document(counts)
        return
    show.text(
        f"{out}: {done.computed} pictures computed, {done.cached} known, "
        f"{done.seconds:.1f} s, {done.images_per_second:.0f} a second"
    )
