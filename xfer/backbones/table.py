"""The layers of a net as a table: sizes, geometry, work, and the name that freezing takes."""

from __future__ import annotations

from dataclasses import dataclass

from xfer.backbones.base import Backbone
from xfer.backbones.geometry import ATTENDED, trace


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One named layer: everything that is computed after the row above it.

    layer           | as `forward` takes it
    output          | (C, h, w), or (D,) for a layer of the tail
    stride          | input pixels between neighbouring cells; None in the tail, like the next two
    receptive_field | input pixels along a side
    offset          | input pixel at the centre of cell (0, 0)
    parameters      | number of trainable values
    multiply_adds   | per picture
    stage           | the name for freezing this stage and all above it in the table
    """

    layer: str
    output: tuple[int, ...]
    stride: int | None
    receptive_field: int | None
    offset: float | None
    parameters: int
    multiply_adds: int
    stage: str


def layer_table(backbone: Backbone, size: int | None = None) -> list[LayerRow]:
    """One row for each of `backbone.layers`, shallow to deep; computed without data.

    Args:
        size: side of the input in pixels; None: the size the weights were trained with.

    Raises: XferError for a size that leaves no cell of the deepest map.
    """
    side = size or backbone.preprocess.size
    backbone.check_side(side, backbone.last)
    numbers = {name: p.numel() for name, p in backbone.named_parameters()}
    stage_of = _stages_by_parameter(backbone)
    rows: list[LayerRow] = []
    counted: set[str] = set()
    done, stage = 0, ""
    for name in backbone.layers:
        # A separate pass up to this layer: nets may return all maps together at the end
        seen = trace(backbone, (side, side), (name,))
        new = [p for p in seen.parameters if p in numbers and p not in counted]
        counted.update(new)
        stage = stage_of[new[-1]] if new else stage
        ident, shape = seen.outputs[name]
        stride = field = offset = None
        if name in backbone.map_names:
            spec = backbone.specs[name]
            stride, offset, field = spec.stride, spec.offset, spec.receptive_field
            if seen.views[ident].mixing == ATTENDED:
                field = max(seen.views[ident].larger.size, side)
        rows.append(
            LayerRow(
                name,
                shape[1:],
                stride,
                field,
                offset,
                sum(numbers[p] for p in new),
                seen.multiply_adds - done,
                stage,
            )
        )
        done = seen.multiply_adds
    return rows


def _stages_by_parameter(backbone: Backbone) -> dict[str, str]:
    by_id = {id(p): name for name, module in backbone.stages() for p in module.parameters()}
    return {name: by_id.get(id(p), "") for name, p in backbone.named_parameters()}
