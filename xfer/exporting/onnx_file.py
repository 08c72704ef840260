"""ONNX files: written by torch's exporter, run by ONNX Runtime."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfer.errors import DataError, XferError, reason_of
from xfer.exporting.contract import Exportable
from xfer.exporting.metadata import as_text, from_text
from xfer.exporting.recorded import quiet, varies
from xfer.exporting.suppress import translations
from xfer.files import is_file, no_file

WRITES, RUNS = ("onnx", "onnxscript", "onnxruntime"), ("onnxruntime",)
LARGEST = 2**31 - 2**20  # bytes that a protocol buffer can hold, with some room


def check_installed(modules: tuple[str, ...] = WRITES) -> None:
    """Raises XferError for packages of the extra `export` that are not installed."""
    lacking = [name for name in modules if importlib.util.find_spec(name) is None]
    if lacking:
        need = "needs" if len(modules) == 1 else "need"
        raise XferError(f"ONNX files {need} {' and '.join(lacking)}", "pip install 'xfer[export]'")


def write_onnx(program: Any, net: Exportable, about: Mapping[str, Any], file: Path) -> None:
    """Writes a recorded net as ONNX, with its metadata.

    Raises: XferError if an operation has no counterpart there, or the net is too large.
    """
    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    if size > LARGEST:
        raise XferError(
            f"{size / 2**30:.1f} GiB of weights; an ONNX file holds at most 2", "--format torch"
        )
    try:
        with quiet():
            made = torch.onnx.export(
                program, dynamo=True, custom_translation_table=translations(), verbose=False,
                input_names=list(net.inputs), output_names=list(net.outputs),
            )  # fmt: skip
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        why = (lines or [type(error).__name__])[0][:160]
        raise XferError(
            f"no ONNX of {net.task.backbone.name}: {why}", "--format torch; --debug shows all"
        ) from error
    assert made is not None
    _name_axes(made.model, net)
    made.model.metadata_props.update(as_text(about))
    with quiet():
        made.save(str(file), external_data=False)


def _name_axes(model: Any, net: Exportable) -> None:
    """Gives the variable axes of inputs and outputs the names that the net has for them."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        axes = net.axes.get(value.name)
        if axes is None or value.shape is None or len(axes) != len(value.shape):
            continue
        for n, axis in enumerate(axes):
            if varies(net, axis):
                value.shape[n] = axis


class OnnxRunner:
    """An ONNX file at work in ONNX Runtime: tensors in, tensors out.

    Args: file: the file; threads: as torch has by default, so that times are comparable.

    about | its metadata
    Raises: XferError if ONNX Runtime is not installed; DataError for a file that is not there, not
        ONNX, or not written by `xfer export`.
    """

    def __init__(self, file: Path | str, threads: int = 0) -> None:
        check_installed(RUNS)
        if not is_file(file) or no_file(file):
            raise DataError(f"{file}: {no_file(file) or 'no such file'}")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common class
            raise DataError(f"{file}: {reason_of(error, 'not an ONNX file that runs')}") from error
        self.file = str(file)
        self.about = from_text(file, self.session.get_modelmeta().custom_metadata_map)
        self.names = [value.name for value in self.session.get_inputs()]
        if self.names != self.about["inputs"]:
            raise DataError(f"{file}: inputs {', '.join(self.names)}, where its metadata list "
                            f"{', '.join(self.about['inputs'])}", "export it again")  # fmt: skip

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        arrays = {n: x.detach().cpu().numpy() for n, x in zip(self.names, inputs, strict=True)}
        try:
            outputs = self.session.run(None, arrays)
        except Exception as error:
            raise DataError(f"{self.file}: {reason_of(error, 'does not run')}") from error
        return tuple(torch.from_numpy(one) for one in outputs)
