"""`xfer features`, and `xfer data cache`, which shows what it keeps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.output import Show

FLAGS = ("backbone", "weights", "train", "val", "test", "limit", "seed", "device", "precision",
         "workers")  # fmt: skip


def _option(*names: str, help: str, metavar: str = "WORD", panel: str = "Features") -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel)


def features(
    show: Show,
    given: dict[str, Any],
    layer: Annotated[
        list[str],
        _option("--layer", "-l", metavar="L[,L]", help="layers, as `xfer models show` names them"),
    ],
    data: Annotated[
        str,
        _option("--data", "-d", metavar="SPEC", panel="Data", help="NAME, PATH or FORMAT:PATH"),
    ],
    out: Annotated[
        Path,
        _option("--out", "-o", metavar="FILE", panel="Output", help="FILE.npz or FILE.parquet"),
    ],
    pool: Annotated[
        str, _option("--pool", help="what becomes of a map: flatten, avg, max, grid2")
    ] = "flatten",
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
    size: Annotated[
        int, _option("--size", metavar="N", help="input side in pixels; 0: the net's own")
    ] = 0,
    batch: Annotated[
        int,
        typer.Option(
            "--batch", metavar="N", min=1, help="pictures at a time", rich_help_panel="Machine"
        ),
    ] = 64,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", show_default=False, rich_help_panel="Data",
            help="look at all pictures first, and leave out those that can't be read",
        ),
    ] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", show_default=False, rich_help_panel="Machine",
            help="compute all; keep nothing under $XFER_CACHE",
        ),
    ] = False,
) -> None:  # fmt: skip
    """What a frozen net sees: `xfer features -l pool5 --data photos/ -o f.npz`."""
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


def data_cache(
    show: Show,
    clear: Annotated[
        bool, typer.Option("--clear", help="forget all of it", show_default=False)
    ] = False,
) -> None:
    """Show what `xfer features` and selective search keep under $XFER_CACHE, or clear it."""
    from xfer.cache import Cache, cache_file, limit_bytes

    states: dict[str, dict[str, Any]] = {}
    limit = limit_bytes()
    for subject in ("features", "proposals"):
        path = cache_file(subject)
        # one that may hold nothing from now on holds what it has
        kept = Cache(path if path.exists() else None, max(1, limit), show.note, subject)
        states[subject] = {**asdict(kept.state()), "path": str(path), "limit_mb": limit / 2**20}
        kept.close()
        if clear:
            Cache(path, 0).clear()
    if clear:
        show.note("cleared")
    if show.json:
        # the features' own keys stand at the top, where they were before proposals were kept
        own = states.pop("features")
        show.document({**own, **states, "cleared": clear})
        return
    show.table(
        [{"kept": subject, "path": state["path"], "entries": state["entries"],
          "MB": round(state["mb"], 1), "limit, MB": round(state["limit_mb"])}
         for subject, state in states.items()]
    )  # fmt: skip
