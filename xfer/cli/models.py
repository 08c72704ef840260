"""`xfer models`: lists and shows backbones, converts weight files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.command import command
from xfer.cli.flags import Glob, Size, out_option
from xfer.cli.help import Group
from xfer.cli.output import Show, plain_text
from xfer.errors import XferError

app = typer.Typer(
    help="Backbones and weight files: list, show, import.", no_args_is_help=True, cls=Group
)


@command(app, "ls")
def models_ls(show: Show, glob: Glob = "*") -> None:
    """List backbones and their origin; 'timm:*' and 'torchvision:*' list theirs.

    Examples:
        xfer models ls
        xfer models ls 'timm:*vit*'
    """
    from xfer.backbones import build

    names = build.names(glob)
    if not names:
        raise XferError(f"no backbone matches {glob!r}", "`xfer models ls` lists all")
    models = [build.describe(name) for name in names]
    rows = [
        {"name": m.name, "from": m.origin, "parameters": m.parameters, "summary": m.summary}
        for m in models
    ]
    show.document(rows) if show.json else show.table(rows)


@command(app, "show")
def models_show(
    show: Show,
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="a backbone")],
    size: Size = 0,
) -> None:
    """Show a backbone layer by layer: sizes, geometry, cost, freezing stage.

    Examples:
        xfer models show alexnet
        xfer models show timm:vit_tiny_patch16_224 --size 192
    """
    from xfer.backbones.build import create_backbone
    from xfer.backbones.table import layer_table

    net = create_backbone(name, weights="none")
    rows = [asdict(row) for row in layer_table(net, size or None)]
    if show.json:
        show.document({"name": name, "preprocess": asdict(net.preprocess), "layers": rows})
        return
    for row in rows:
        row["output"] = " x ".join(str(n) for n in row["output"])
    own = net.preprocess
    names = {"receptive_field": "field", "multiply_adds": "multiply-adds"}
    show.table([{names.get(key, key): value for key, value in row.items()} for row in rows])
    show.text(
        "\noutput: channels x height x width; stride, receptive field and offset in pixels\n"
        f"{sum(row['parameters'] for row in rows):,} parameters, "
        f"{sum(row['multiply_adds'] for row in rows):,} multiply-adds for a picture of "
        f"{size or own.size} px; {own.channels}, mean {plain_text(own.mean)}, "
        f"std {plain_text(own.std)}"
    )


@command(app, "import", trust=True)
def models_import(
    show: Show,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", show_default=False,
            help="a weight file of PyTorch's (.pth .pt .ckpt .bin), .npz, .safetensors or "
            ".caffemodel, or run:DIR: only a run's backbone, with a model card",
        ),
    ],
    out: Annotated[
        Path, out_option("the .safetensors to write; with --prototxt, the run's folder", "PATH")
    ],
    net: Annotated[
        str,
        typer.Option(
            metavar="NAME", show_default=False,
            help="use this backbone's tensor names and leave out what does not fit it",
        ),
    ] = "",
    prototxt: Annotated[
        str,
        typer.Option(
            metavar="FILE", show_default=False,
            help="the net of a .caffemodel, as used at test: Fast R-CNN, Faster R-CNN and FCN "
            "become runs, heads included",
        ),
    ] = "",
    classes: Annotated[
        str,
        typer.Option(
            metavar="FILE", show_default=False,
            help="with --prototxt: the name of each class, one per line; default: those of VOC",
        ),
    ] = "",
) -> None:  # fmt: skip
    """Convert a weight file to safetensors, or a whole Caffe model to a run, without running any
    code in it.

    Examples:
        xfer models import old.pth -o weights.safetensors
        xfer models import run:runs/NAME -o backbone.safetensors
        xfer models import net.caffemodel --prototxt test.prototxt -o runs/net
    """
    if prototxt:
        from xfer.importing.caffe_run import import_caffe, report_line

        if net:
            raise XferError(f"--net {net}: the prototxt already says which net it is")
        report = import_caffe(file, prototxt, out, classes=classes)
        show.document(report) if show.json else show.text(report_line(report))
        return
    from xfer.runs.convert import convert

    if classes:
        raise XferError("--classes names the classes of a run, which needs --prototxt FILE")
    line = convert(file, out, net)
    show.document({"file": str(out), "report": line}) if show.json else show.text(line)
