"""Non-maximum suppression whose result has a fixed shape, for files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms

# an operator, so that the exporter sees one node in its place and writes ONNX's own
_LIBRARY = torch.library.Library("xfer_export", "DEF")
_LIBRARY.define("kept(Tensor boxes, Tensor scores, float threshold) -> Tensor")


def kept(boxes: Tensor, scores: Tensor, threshold: float, for_onnx: bool) -> Tensor:
    """Which boxes of each set no better kept box of it overlaps by more than `threshold`.

    Args: for_onnx: as the operator that becomes ONNX's NonMaxSuppression; else from torch's and
        torchvision's own, so that a saved program needs nothing of xfer.

    Shapes: boxes float32 (B, R, 4), not negative; scores (B, R), those of at most 0 are left out
        -> bool (B, R).
    """
    if for_onnx:
        return torch.ops.xfer_export.kept(boxes, scores, threshold)
    flat = scores.flatten()
    there = torch.nonzero(flat > 0).flatten()
    where = boxes.reshape(-1, 4)[there].double()
    # sets lie apart; in float64, in which their overlaps stay what they are
    far = (there // scores.shape[1]).double() * (boxes.max().double() + 1)
    best = nms(where + far[:, None], flat[there].double(), threshold)
    marks = torch.zeros_like(flat).index_fill(0, there[best], 1.0)
    return (marks > 0).view(scores.shape)


def _kept(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    marks = torch.zeros_like(scores, dtype=torch.bool)
    for where, score, mark in zip(boxes, scores, marks, strict=True):
        there = torch.nonzero(score > 0).flatten()
        mark[there[nms(where[there], score[there], threshold)]] = True
    return marks


def _shape(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


_LIBRARY.impl("kept", _kept, "CompositeExplicitAutograd")
torch.library.register_fake("xfer_export::kept", _shape, lib=_LIBRARY)


def translations() -> dict[Any, Any]:
    """How two operators are written: `kept` as ONNX's NonMaxSuppression, set by set, and
    torchvision's roi_pool as MaxRoiPool."""
    from onnxscript import opset18

    op: Any = opset18  # its annotations are of ONNX's types, not of what is passed

    def kept_onnx(boxes: Any, scores: Any, threshold: float) -> Any:
        most = op.Reshape(op.Shape(scores, start=1, end=2), op.Constant(value_ints=[1]))
        chosen = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, op.Constant(value_ints=[1])),
            most,
            op.Constant(value_floats=[threshold]),
            op.Constant(value_floats=[0.0]),
        )  # (K, 3): set, class 0, box
        places = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
        zeros = op.Mul(scores, op.Constant(value_float=0.0))
        ones = op.Expand(
            op.Constant(value_floats=[1.0]),
            op.Shape(chosen, start=0, end=1),
        )
        return op.Greater(op.ScatterND(zeros, places, ones), op.Constant(value_float=0.0))

    def roi_pool_onnx(
        maps: Any, regions: Any, spatial_scale: float, pooled_height: int, pooled_width: int
    ) -> Any:
        # onnxscript's own has other arguments than torchvision's operator (seen in 0.7)
        pooled = op.MaxRoiPool(
            maps, regions, pooled_shape=(pooled_height, pooled_width), spatial_scale=spatial_scale
        )
        return pooled, pooled  # where each maximum was, which nothing reads

    operators = torch.ops
    return {
        operators.xfer_export.kept.default: kept_onnx,
        operators.torchvision.roi_pool.default: roi_pool_onnx,
    }
