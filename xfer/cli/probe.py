"""`xfer probe`: fits a classifier to frozen features, or compares nets and layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.data_keys import Set, reading_keys
from xfer.cli.flags import Data, Device, NoVerify, Overwrite, Pool, SkipBad, out_option, varied
from xfer.cli.output import Show
from xfer.errors import XferError

REPEATS = 10
ComparedData = Annotated[str, varied(Data, rich_help_panel="Compare")]
ComparedSkipBad = Annotated[bool, varied(SkipBad, rich_help_panel="Compare")]
ComparedPool = Annotated[str, varied(Pool, rich_help_panel="Compare")]
ComparedSet = Annotated[list[str], varied(Set, rich_help_panel="Compare")]
ComparedDevice = Annotated[str, varied(Device, rich_help_panel="Compare")]
_KINDS = "logreg, linear-svm, ridge, knn, rbf-svm or lda"


def _numbers(text: str, flag: str) -> list[int]:
    """1,2,4 as numbers. Raises XferError for anything else."""
    items = _split(text)
    if not all(item.isdecimal() for item in items):
        raise XferError(f"{flag} {text}: not whole numbers", f"{flag} 1,2,4,8,16")
    return [int(item) for item in items]


def _split(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def probe(
    show: Show,
    file: Annotated[
        str,
        typer.Argument(metavar="[FILE]", show_default=False, help="a file from `xfer features`"),
    ] = "",
    clf: Annotated[str, typer.Option("--clf", metavar="NAME", help=_KINDS)] = "logreg",
    out: Annotated[
        Path | None, out_option("the run folder; default: runs/probe-<backbone>-<data>-<n>")
    ] = None,
    layer: Annotated[
        str,
        typer.Option(metavar="L", show_default=False, help="the layer, if FILE holds several"),
    ] = "",
    shots: Annotated[
        str,
        typer.Option(
            metavar="N,N", show_default=False,
            help="also train on only N pictures per class: 1,2,4,8,16",
        ),
    ] = "",
    repeats: Annotated[
        int, typer.Option(metavar="N", min=2, help="random draws for each of --shots")
    ] = REPEATS,
    cv: Annotated[
        int,
        typer.Option(
            metavar="K", show_default=False,
            help="folds for choosing scaling and strength, and for scoring without a val split; "
            "default: up to 5",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="seed of folds and draws")] = 0,
    overwrite: Overwrite = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", show_default=False, rich_help_panel="Compare",
            help="compare nets and layers on --data, instead of FILE",
        ),
    ] = False,
    data: ComparedData = "",
    backbones: Annotated[
        str,
        typer.Option(
            metavar="B,B", show_default=False, rich_help_panel="Compare", help="nets to compare"
        ),
    ] = "",
    layers: Annotated[
        str,
        typer.Option(
            metavar="auto|L,L", rich_help_panel="Compare",
            help="auto: every map and hidden layer with pretrained weights",
        ),
    ] = "auto",
    pool: ComparedPool = "grid2",
    weights: Annotated[
        str,
        typer.Option(
            metavar="W", rich_help_panel="Compare",
            help="imagenet, none, a file, or one per net: W,W",
        ),
    ] = "imagenet",
    device: ComparedDevice = "auto",
    skip_bad: ComparedSkipBad = False,
    no_verify: NoVerify = False,
    set: ComparedSet = [],  # noqa: B006 (typer copies it)
) -> None:  # fmt: skip
    """Fit a classifier to frozen features, or compare nets and layers.

    Examples:
        xfer probe f.npz                                 logistic regression
        xfer probe f.npz --clf linear-svm --shots 1,4,16
        xfer probe --compare --data photos/ --backbones alexnet,resnet18
    """
    if cv == 1 or cv < 0:
        raise XferError(f"--cv {cv}: at least two folds are needed", "--cv 5")
    given: dict[str, Any] = {"clf": clf, "out": out, "cv": cv, "seed": seed, "overwrite": overwrite,
                             "verify": not no_verify}  # fmt: skip
    if compare:
        if file or layer or shots or repeats != REPEATS:
            raise XferError(
                "--compare computes its own features: leave out FILE, --layer, --shots, --repeats",
                "xfer probe --compare --data SPEC --backbones B,B",
            )
        given |= {"data_keys": reading_keys(set, ("changes",))}
        given |= {"weights": _split(weights), "pool": pool, "device": device}
        given |= {"skip_bad": skip_bad}
        _compare(show, data, _split(backbones), layers, given)
        return
    if repeats != REPEATS and not shots:
        raise XferError("--repeats needs --shots", "--shots 1,2,4,8,16")
    if not file:
        raise XferError("no features file given", "xfer probe FILE, or --compare --data SPEC")
    defaults = {"": [data, backbones], "auto": [layers, device], "grid2": [pool]}
    if (
        set
        or skip_bad
        or weights != "imagenet"
        or any(v != k for k, vs in defaults.items() for v in vs)
    ):
        raise XferError(
            "--data, --backbones, --layers, --pool, --weights, --device, --skip-bad and --set need "
            "--compare"
        )
    from xfer.probing.run import probe as fit

    result = fit(
        file, layer=layer, shots=_numbers(shots, "--shots"), repeats=repeats, say=show.note,
        **given,
    )  # fmt: skip
    if show.json:
        show.document(result)
        return
    where = result["protocol"]["scored_on"].partition(",")[0]
    metrics: dict[str, Any] = result["metrics"]
    rows = [{"metric": k, where: v} for k, v in metrics.items() if isinstance(v, (int, float))]
    for row in rows:
        if "test_metrics" in result:
            row["test"] = result["test_metrics"][row["metric"]]
    show.table(rows)
    if "shots" in result:
        show.table(result["shots"], ["shots", "top1", "low", "high", "repeats"])
    primary = result["primary"]
    show.text(f"{where} {primary} {metrics[primary]:.4f} in {result['run']}")


def _compare(
    show: Show, data: str, backbones: list[str], layers: str, given: dict[str, Any]
) -> None:
    if not data or not backbones:
        raise XferError(
            "--compare needs --data and --backbones",
            "xfer probe --compare --data photos/ --backbones alexnet,resnet18",
        )
    from xfer.probing.compare import compare_nets

    chosen = None if layers == "auto" else _split(layers)
    result = compare_nets(data, backbones, layers=chosen, say=show.note, **given)
    if show.json:
        show.document(result)
        return
    rows: list[dict[str, Any]] = result["rows"]
    same_weights = len({row["weights"] for row in rows}) == 1
    hidden = ("weights",) if same_weights else ()
    show.table([{k: v for k, v in row.items() if k not in hidden} for row in rows])
    show.text(f"best: {result['best']['layer']} of {result['best']['backbone']}; to use it:")
    for line in result["commands"]:
        show.text(f"  {line}")
