"""`xfer features`: extracts features from a frozen backbone."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.data_keys import Assignments, Set, reading_keys
from xfer.cli.flags import Batch, Data, NoVerify, Part, Pool, Size, SkipBad, out_option, varied
from xfer.cli.output import Show
from xfer.errors import XferError
from xfer.exit_codes import apart

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
    out: Annotated[
        Path, out_option("FILE.npz or FILE.parquet; with --part a folder", "FILE", "Output")
    ],
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
    proposals: Annotated[
        str,
        _option(
            "--proposals", metavar="M", panel="Regions",
            help="a row per region: selective_search, grid or file:PATH",
        ),
    ] = "",
    most: Annotated[
        int,
        typer.Option(
            "--most", metavar="N", min=1, rich_help_panel="Regions",
            help="most proposals per picture",
        ),
    ] = 2000,
    part: Part = "",
    format: Annotated[
        str,
        typer.Option(
            "--format", metavar="F", show_default=False, rich_help_panel="Output",
            help="of the files of parts: npz, parquet; default: npz",
        ),
    ] = "",
    set: Set = [],  # noqa: B006 (typer copies it)
    assignments: Assignments = [],  # noqa: B006
) -> None:  # fmt: skip
    """Extract features from a frozen backbone.

    With --skip-bad, all pictures are checked before the first is computed.

    With --proposals, each region of a picture with boxes is a row: its true
    boxes, labelled, and proposals, labelled background where they hardly
    overlap one, for a classifier of your own (R-CNN).

    With --part, one part of the work is done, on any machine, and `xfer features
    join` makes one file of all of them; nothing is kept in $XFER_CACHE.

    Examples:
        xfer features -l pool5 --data photos/ -o f.npz
        xfer features --backbone resnet50 -l layer4 --pool avg --data photos/ -o f.npz
        xfer features -l pool5 --data photos/ --part 0/3 -o parts/
        xfer features -l fc7 --data voc07 --proposals selective_search -o r.npz
        xfer models show resnet50                        the names of its layers
    """
    if format and not part:
        raise XferError("--format is for --part", "-o FILE.npz or -o FILE.parquet")
    if format not in ("", "npz", "parquet"):
        raise XferError(f"--format {format}: unknown", "choose npz or parquet")
    from xfer.extraction.extract import extract
    from xfer.extraction.form import Form
    from xfer.extraction.net import Choice, layer_names
    from xfer.parts.part import parse_part

    options = {key.rpartition(".")[2]: value for key, value in given.items()}
    if "split_seed" in options:
        options["seed"] = options.pop("split_seed")
    net_keys = ("backbone", "weights", "device", "precision")
    net = {key: options.pop(key) for key in net_keys if key in options}
    choice = Choice(
        **net, layers=layer_names(",".join(layer)), pool=pool, crops=crops, views=views, size=size
    )
    own = str(parse_part(part)) if part else ""
    keys = reading_keys([*set, *assignments], ("changes",), no_verify)
    with apart() if part.startswith("auto") else nullcontext():
        result = extract(
            data, out, choice=choice, form=Form(dtype, normalise), batch=batch, cache=not no_cache,
            skip_bad=skip_bad, data_keys=keys, part=own, ending=f".{format or 'npz'}",
            proposals=proposals, most=most, say=show.note, **options,
        )  # fmt: skip
        if show.json:
            show.document(result.counts())
        elif result.finished:
            show.text(f"{result.path}: part {result.part} is there already")
        else:
            show.text(
                f"{result.path}: {result.computed} pictures computed, {result.cached} from the "
                f"cache, {result.seconds:.1f} s, {result.images_per_second:.0f} pictures/s"
            )


def join(
    show: Show,
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", show_default=False, help="the folder that --part wrote to"),
    ],
    out: Annotated[Path, out_option("FILE.npz or FILE.parquet", "FILE", "Output")],
) -> None:
    """Join the parts of `xfer features --part` into one features file.

    The file equals that of one `xfer features` without --part, bit for bit.

    Examples:
        xfer features join parts/ -o f.npz
    """
    from xfer.extraction.join import join as join_parts

    joined = join_parts(folder, out, show.note)
    if show.json:
        show.document(joined.document())
        return
    show.text(f"{joined.path}: {joined.rows} pictures of {joined.parts} parts")
