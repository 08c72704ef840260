"""`xfer export`: a run's net as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.flags import Data, RunFolder, out_option, varied
from xfer.cli.output import Show

FORMATS = ("onnx", "torch", "timm", "torchvision")


def export(
    show: Show,
    run: RunFolder,
    format: Annotated[
        str,
        typer.Option(
            "--format", metavar="F", autocompletion=lambda: list(FORMATS),
            help="onnx; torch: a program of torch.export; timm, torchvision: weights for their "
            "own net",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        out_option("the file; default: model.onnx, .pt2 or .safetensors in RUN", "FILE"),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", show_default=False,
            help="8-bit ONNX, calibrated on training pictures; scored before and after",
        ),
    ] = False,
    dynamic: Annotated[
        str,
        typer.Option(
            metavar="AXES", show_default=False,
            help="what may vary: batch, size, batch,size or none; default: size for detection and "
            "segmentation",
        ),
    ] = "auto",
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing", show_default=False,
            help="uint8 pictures in, normalised in the file",
        ),
    ] = False,
    softmax: Annotated[
        bool,
        typer.Option(
            "--softmax", show_default=False,
            help="classification: probabilities out (sigmoid if multi-label), not logits",
        ),
    ] = False,
    full_size: Annotated[
        bool,
        typer.Option(
            "--full-size", show_default=False,
            help="segmentation: class maps in the pictures' own size, not scores on a coarse grid",
        ),
    ] = False,
    bench: Annotated[
        bool, typer.Option("--bench", show_default=False, help="time it beside torch")
    ] = False,
    data: Annotated[
        str, varied(Data, help="labelled pictures to compare on; default: the run's own val")
    ] = "",
) -> None:  # fmt: skip
    """Write a run's net as a file that other programs read.

    The file is compared with the run on pictures of its val split. Beside FILE.onnx
    lies FILE.py, which predicts with onnxruntime, numpy and Pillow alone. `xfer eval
    RUN --model FILE.onnx` scores the file.

    Examples:
        xfer export runs/NAME                            runs/NAME/model.onnx, model.py
        xfer export runs/NAME -o net.onnx --softmax --dynamic batch
        xfer export runs/NAME -o small.onnx --int8 --bench
        xfer export runs/NAME --format torch             runs/NAME/model.pt2
    """
    from xfer.exporting.write import export as write

    report = write(
        run, format=format, out=out, int8=int8, dynamic=dynamic,
        with_preprocessing=with_preprocessing, softmax=softmax, full_size=full_size, bench=bench,
        data=data, say=show.note,
    )  # fmt: skip
    if show.json:
        show.document(report)
        return
    for line in lines(report):
        show.text(line)


def lines(report: dict[str, Any]) -> list[str]:
    """What there is to say about a file that was written."""
    said = [f"{report['file']}: {report['bytes'] / 1e6:.1f} MB"]
    if "inputs" in report:
        vary = " and ".join(report["dynamic"]) or "nothing"
        said[0] += (f"; {', '.join(report['inputs'])} -> {', '.join(report['outputs'])}; "
                    f"may vary: {vary}")  # fmt: skip
        if report["side"]:
            said.append(
                f"pictures are padded to {report['side']} x {report['side']} px, which changes "
                "scores a little: `xfer eval RUN --model FILE` measures it"
            )
    found = report["check"]
    if found is not None:
        said.append(
            f"compared on {found['pictures']} pictures of {found['split']}: {found['of']} "
            f"{found['difference']:.2g} (tolerated: {found['tolerance']:g})"
        )
    if "int8" in report:
        own = report["int8"]
        said.append(
            f"int8: {own['layers']} layers, calibrated on {own['calibrated_on']} training "
            f"pictures; {own['primary']} on {own['images']} pictures of {own['split']}: "
            f"{own['before']:.4f} before, {own['after']:.4f} after; "
            f"{own['bytes_before'] / 1e6:.1f} MB before"
        )
    if "bench" in report:
        own = report["bench"]
        said.append(
            f"one picture at a time: {own['torch_ms']:.1f} ms in torch, "
            f"{own['file_ms']:.1f} ms in the file"
        )
    if "script" in report:
        said.append(f"python {report['script']} PICTURE... predicts with onnxruntime, numpy and "
                    "Pillow alone")  # fmt: skip
    if "load" in report:
        said.append(report["load"])
    return said
