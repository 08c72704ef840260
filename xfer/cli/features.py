"""`xfer features`: extracts features from a frozen backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.data_keys import Assignments, Set, reading_keys
from xfer.cli.flags import Batch, Data, NoVerify, Pool, Size, SkipBad, out_option, varied
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
        _option("--layer", "-l", metavar="L[,L]", help="layers, see `xfer models show`"),
    ],
    data: Data,
    out: Annotated[Path, out_option("FILE.npz or FILE.parquet", "FILE", "Output")],
    pool: FeaturePool = "flatten",
    crops: Annotated[
        str, _option("--crops", help="views of each picture: centre, flip, 10crop")
    ] = "centre",
    views: Annotated[
        str, _option("--views", help="how to combine several views: mean, concat")
    ] = "mean",
    normalise: Annotated[
        str, _option("--normalise", help="normalise each vector: none, l2, power, power-l2")
    ] = "none",
    dtype: Annotated[str, _option("--dtype", help="float32 or float16")] = "float32",
    size: FeatureSize = 0,
    batch: Batch = 64,
    skip_bad: SkipBad = False,
    no_verify: NoVerify = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", show_default=False, rich_help_panel="Machine",
            help="compute everything; keep nothing in $XFER_CACHE",
        ),
    ] = False,
    set: Set = [],  # noqa: B006 (typer copies it)
    assignments: Assignments = [],  # noqa: B006
) -> None:  # fmt: skip
    """Extract features from a frozen backbone.

    With --skip-bad, all pictures are checked before the first is computed.

    Examples:
        xfer features -l pool5 --data photos/ -o f.npz
        xfer features --backbone resnet50 -l layer4 --pool avg --data photos/ -o f.npz
        xfer models show resnet50                        the names of its layers
    """
    from xfer.extraction.extract import Form, extract
    from xfer.extraction.net import Choice, layer_names

    options = {key.rpartition(".")[2]: value for key, value in given.items()}
    if "split_seed" in options:
        options["seed"] = options.pop("split_seed")
    net_keys = ("backbone", "weights", "device", "precision")
    net = {key: options.pop(key) for key in net_keys if key in options}
    choice = Choice(
        **net, layers=layer_names(",".join(layer)), pool=pool, crops=crops, views=views, size=size
    )
    result = extract(
        data, out, choice=choice, form=Form(dtype, normalise), batch=batch, cache=not no_cache,
        skip_bad=skip_bad, data_keys=reading_keys([*set, *assignments], ("changes",), no_verify),
        say=show.note, **options,
    )  # fmt: skip
    if show.json:
        show.document(result.counts())
        return
    show.text(
        f"{out}: {result.computed} pictures computed, {result.cached} from the cache, "
        f"{result.seconds:.1f} s, {result.images_per_second:.0f} pictures/s"
    )
