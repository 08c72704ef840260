"""`xfer export`: a run's net as a file for other programs, checked against the run."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer import plugs
from xfer.device import Place, find_device, find_precision
from xfer.errors import DataError, XferError, nearest
from xfer.exporting import check as checks
from xfer.exporting.contract import BATCH, SIZE, Choices, Exportable, exportable
from xfer.exporting.int8 import CALIBRATED, quantise
from xfer.exporting.metadata import about_file, check_choices
from xfer.exporting.onnx_file import OnnxRunner, check_installed, write_onnx
from xfer.exporting.opened import ThroughFile
from xfer.exporting.recorded import record
from xfer.exporting.script import check_script, write_script
from xfer.exporting.theirs import export_theirs
from xfer.exporting.torch_file import TorchRunner, write_torch
from xfer.files import replacing
from xfer.inference.model import load
from xfer.inference.scored import open_scored
from xfer.runs.folder import Run
from xfer.runs.model_file import read_model

FORMATS = {"onnx": ".onnx", "torch": ".pt2", "timm": ".safetensors", "torchvision": ".safetensors"}
AUTO = "auto"


@plugs.face("data")
def export(
    run: Path | str,
    *,
    format: str = "onnx",
    out: Path | str | None = None,
    int8: bool = False,
    dynamic: str | Sequence[str] = AUTO,
    with_preprocessing: bool = False,
    softmax: bool = False,
    full_size: bool = False,
    bench: bool = False,
    data: Any = "",
    trust: str | Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Writes a run's best weights as a file that needs nothing of xfer.

    The file is compared with the run on pictures of its val split before it takes its name, and is
    not written if they differ. Beside FILE.onnx lies FILE.py, which predicts with onnxruntime,
    numpy and Pillow.

    Args:
        run: the run folder.
        format: onnx; torch: a program of torch.export (.pt2); timm, torchvision: weights that
            these load into their own net, if the run's is theirs.
        out: the file; by default model.onnx (model.pt2, ...) in the run's folder.
        int8: an 8-bit ONNX file, calibrated on training pictures.
        dynamic: what may vary from call to call: "batch", "size" or both ("batch,size"); "none".
            auto: size for detection and segmentation, whose pictures keep their shape, if the net
            takes any; none for classification.
        with_preprocessing: uint8 pictures in, normalised in the file.
        softmax: classification: probabilities out, not the scores before softmax or sigmoid.
        full_size: segmentation: class maps of the size that a further input asks for.
        bench: time the file beside torch.
        data: other labelled pictures to compare on, if the run's own are not there.
        trust: your own modules that the run may import.
        say: called with lines about what is done.

    Returns: {"file", "format", "bytes", "inputs", "outputs", "check", "bench", "int8", ...}
    Raises: XferError for a net or a task that can't be exported so; DataError if file and run
        differ.
    """
    if format not in FORMATS:
        raise XferError(f"unknown format {format!r}", nearest(format, FORMATS))
    folder = Run.open(Path(run))
    file = Path(out) if out else folder.path / f"model{FORMATS[format]}"
    _check_name(file, format)
    own = {"with_preprocessing": with_preprocessing, "softmax": softmax, "full_size": full_size,
           "int8": int8, "bench": bench, "dynamic": dynamic != AUTO}  # fmt: skip
    wrong = [name for name, given in own.items() if given]
    if format == "torch":
        wrong = ["int8"] if int8 else []
    if format != "onnx" and wrong:
        flag = f"--{wrong[0].replace('_', '-')}"
        raise XferError(f"{flag} has no effect with --format {format}", f"leave out {flag}")
    if format == "onnx":
        check_installed()
        check_script(file)
    device = find_device("cpu")
    place = Place(device, find_precision("fp32", device))
    task = load(folder.path, place=place).task
    if format in ("timm", "torchvision"):
        return export_theirs(folder, task, format, file)
    choices = Choices(
        softmax, full_size, with_preprocessing, (), format == "onnx",
    )  # fmt: skip
    net = _net_of(task, choices, dynamic)
    about = about_file(folder, read_model(folder), net)
    pictures = _pictures(folder, task, data, place, say)
    report: dict[str, Any] = {
        "run": str(folder.path), "file": str(file), "format": format,
        "inputs": list(net.inputs), "outputs": list(net.outputs),
        "dynamic": list(net.choices.dynamic), "side": net.view().get("side", 0), "check": None,
    }  # fmt: skip
    program = record(net)
    with replacing(file) as temporary:
        if format == "torch":
            write_torch(program, about, temporary)
            runner: Any = TorchRunner(temporary)
        else:
            write_onnx(program, net, about, temporary)
            runner = OnnxRunner(temporary)
        del program
        if pictures is not None:
            report["check"] = checks.compare(net, runner, pictures)
            checks.check(report["check"], file)
        if int8:
            if pictures is None:
                raise DataError(
                    "--int8 is calibrated on the run's training pictures, which are not there",
                    "leave it out, or put them back",
                )
            runner, report["int8"] = _in_int8(temporary, net, runner, pictures, folder, say)
        if bench and pictures is not None:
            report["bench"] = checks.bench(net, runner, pictures)
        del runner  # it may have the file mapped
    report["bytes"] = file.stat().st_size
    if format == "onnx":
        report["script"] = str(write_script(file, net))
    return report


def _check_name(file: Path, format: str) -> None:
    ending = FORMATS[format]
    allowed = (ending, ".pth") if format in ("timm", "torchvision") else (ending,)
    if file.suffix not in allowed:
        raise XferError(
            f"{file}: a file of --format {format} ends in {' or '.join(allowed)}",
            f"-o {shlex.quote(str(file.with_suffix(ending)))}",
        )


def _net_of(task: Any, choices: Choices, dynamic: str | Sequence[str]) -> Exportable:
    """The task's net, with what may vary as chosen."""
    names = dynamic.split(",") if isinstance(dynamic, str) else list(dynamic)
    names = [name.strip() for name in names if name.strip()]
    for name in names:
        if name not in (BATCH, SIZE, "none", AUTO):
            raise XferError(f"--dynamic {name}", "batch, size, batch,size or none")
    if len(names) > 1 and {"none", AUTO} & set(names):
        raise XferError(f"--dynamic {','.join(names)}", "batch, size, batch,size or none")
    if names == [AUTO] or not names:
        free = task.any_shape and not task.backbone.fixed_side
        names = [SIZE] if free else []
    chosen = tuple(name for name in (BATCH, SIZE) if name in names)
    net = exportable(task, replace(choices, dynamic=chosen))
    check_choices(net, net.choices)
    return net


def _pictures(
    folder: Run, task: Any, data: Any, place: Place, say: Callable[[str], None] | None
) -> checks.Pictures | None:
    """What the file is compared on; None, with a line, if the run's data are not there."""
    try:
        scored = open_scored(folder, task, data)
    except XferError as error:
        if data:
            raise
        if say is not None:
            say(f"warning: the file is not compared with the run: {error.message}; "
                "--data SPEC names other pictures")  # fmt: skip
        return None
    if not len(scored.source):
        return None
    return checks.Pictures(folder.recipe(), scored.source, place, scored.role)


def _in_int8(
    file: Path, net: Exportable, before: Any, pictures: checks.Pictures, folder: Run,
    say: Callable[[str], None] | None,
) -> tuple[OnnxRunner, dict[str, Any]]:  # fmt: skip
    """Puts the 8-bit version in the file's place; its runner, and the scores before and after."""
    training = open_scored(folder, net.task, split="train")
    chosen = replace(pictures, source=training.source, name="train")
    task, size = net.task, file.stat().st_size
    scores = [pictures.scores(ThroughFile(task, net, before), say)]
    small = file.with_name(f"{file.name}.int8")
    try:
        batches = chosen.batches(task, CALIBRATED)
        layers = quantise(file, small, net, batches)
        small.replace(file)
    finally:
        with contextlib.suppress(FileNotFoundError):
            small.unlink()
    runner = OnnxRunner(file)
    scores.append(pictures.scores(ThroughFile(task, net, runner), say))
    primary = scores[0]["primary"]
    values = [np.nan if s["metrics"].get(primary) is None else s["metrics"][primary]
              for s in scores]  # fmt: skip
    return runner, {
        "layers": len(layers), "calibrated_on": min(CALIBRATED, len(training.source)),
        "split": pictures.name, "images": scores[0]["images"], "primary": primary,
        "before": float(values[0]), "after": float(values[1]), "bytes_before": size,
        "metrics_before": scores[0]["metrics"], "metrics_after": scores[1]["metrics"],
    }  # fmt: skip
