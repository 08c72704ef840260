"""8-bit ONNX files by static calibration on training pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xfer.errors import XferError
from xfer.exporting.contract import Exportable
from xfer.exporting.recorded import quiet

CALIBRATED = 64  # pictures
# with weights: everything else stays in float32
_LAYERS = ("Conv", "Gemm", "MatMul")


def quantise(file: Path, out: Path, net: Exportable, batches: Iterator[Any]) -> list[str]:
    """Writes an 8-bit version of an ONNX file: weights int8 per channel, activations uint8, ranges
    from what the net shows for these batches.

    Products of activations alone (attention, upsampling) and the last layers, whose errors nothing
    averages out, stay in float32.

    Returns: names of the layers that are in 8 bits.
    Raises: XferError if there are no such layers.
    Source: Jacob et al. 2018, sec. 2.1 and 3; ONNX Runtime's quantize_static.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Inputs(CalibrationDataReader):
        def __init__(self) -> None:
            self.parts = (part for batch in batches for part in net.parts(batch))

        def get_next(self) -> Any:
            part = next(self.parts, None)
            if part is None:
                return None
            return {n: x.numpy() for n, x in zip(net.inputs, net.feed(part), strict=True)}

    model = onnx.load(str(file))
    texts = {entry.key: entry.value for entry in model.metadata_props}
    layers = _weighted(model)
    if not layers:
        raise XferError("--int8: this net has no convolution and no linear layer", "leave it out")
    with quiet():
        quantize_static(
            str(file), str(out), Inputs(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_quantize=layers,
        )  # fmt: skip
    made = onnx.load(str(out))
    onnx.helper.set_model_props(made, {**texts, "precision": '"int8"'})
    onnx.save(made, str(out))
    return layers


def _weighted(model: Any) -> list[str]:
    """Names of the layers with weights, but for those that an output depends on without another
    such layer in between."""
    weights = {tensor.name for tensor in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}

    def is_layer(node: Any) -> bool:
        return node.op_type in _LAYERS and len(node.input) > 1 and node.input[1] in weights

    last: set[str] = set()
    seen: set[str] = set()
    todo = [value.name for value in model.graph.output]
    while todo:
        name = todo.pop()
        node = made_by.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if is_layer(node):
            last.add(node.name)
        else:
            todo += node.input
    return [n.name for n in model.graph.node if is_layer(n) and n.name and n.name not in last]
