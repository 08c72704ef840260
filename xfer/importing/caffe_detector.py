"""Fast R-CNN and Faster R-CNN of Caffe as the task `detect`.

Names of layers: rbgirshick/fast-rcnn and py-faster-rcnn.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from xfer.errors import DataError
from xfer.importing.caffe_net import CaffeNet, trunk_of, trunk_tensors, widths_of
from xfer.importing.plan import Plan
from xfer.importing.prototxt import Layer
from xfer.task import Task

MEAN = (102.9801, 115.9465, 122.7717)  # config.py of both, PIXEL_MEANS
BASE, SCALES, RATIOS = 16, (8, 16, 32), (0.5, 1.0, 2.0)  # generate_anchors.py


class DetectorPlan(Plan):
    """Raises DataError for a net that is neither."""

    background = False

    def __init__(self, net: CaffeNet) -> None:
        self.outputs = net.need("cls_score").count("inner_product_param", "num_output", 0)
        boxes = net.need("bbox_pred").count("inner_product_param", "num_output", 0)
        if boxes != 4 * self.outputs:
            raise DataError(f"{net.prototxt}: bbox_pred has {boxes} outputs, where four for each "
                            f"of {self.outputs} classes are {4 * self.outputs}")  # fmt: skip
        name, options = trunk_of(net)
        roi = next((layer for layer in net.layers if layer.kind == "roipooling"), None)
        if roi is None:
            raise DataError(f"{net.prototxt}: no ROIPooling layer before fc6")
        scale = roi.number("roi_pooling_param", "spatial_scale", 1.0)
        if scale != 1 / 16:
            raise DataError(f"{net.prototxt}: {roi.name} has spatial_scale {scale:g}, where the "
                            "map's stride is 16")  # fmt: skip
        source = net.source(roi)
        level = source.name if source is not None else ""
        sides = {roi.count("roi_pooling_param", key, 0) for key in ("pooled_h", "pooled_w")}
        side = 7 if name.startswith("vgg16") else 6
        if sides != {side}:
            raise DataError(f"{net.prototxt}: {roi.name} pools {sorted(sides)} cells, where fc6 of "
                            f"{name} reads {side} x {side}")  # fmt: skip
        self.rpn = net.layer("rpn_cls_score")
        self.recipe = "detect/voc07" if self.rpn is None else "detect/voc07-rpn"
        self.settings = {
            "backbone": name, **{f"backbone.{key}": value for key, value in options.items()},
            "backbone.mean": MEAN, "backbone.tail_widths": widths_of(net),
            "task.head": "tail", "task.levels": (level,), "task.pool": "max",
            "task.geometry": "caffe", "task.box_stats": "fixed",
            **(self._rpn_settings(net, self.rpn) if self.rpn else {}),
        }  # fmt: skip

    def _rpn_settings(self, net: CaffeNet, score: Layer) -> dict[str, Any]:
        conv = self._rpn_conv(net, score)
        anchors = anchors_of(net)
        due = {"rpn_cls_score": 2, "rpn_bbox_pred": 4}
        for name, each in due.items():
            outputs = net.need(name).count("convolution_param", "num_output", 0)
            if outputs != each * len(anchors):
                raise DataError(f"{net.prototxt}: {name} has {outputs} outputs, where {each} for "
                                f"each of {len(anchors)} anchors are due")  # fmt: skip
        return {
            "task.rpn_width": conv.count("convolution_param", "num_output", 0), "task.rpn_step": 1,
            "task.anchors": tuple(float(v) for size in anchors for v in size),
        }  # fmt: skip

    def _rpn_conv(self, net: CaffeNet, score: Layer) -> Layer:
        conv = net.source(score)
        if conv is None or conv.kind != "convolution":
            raise DataError(f"{net.prototxt}: {score.name} does not read a convolution")
        return conv

    def tensors(self, net: CaffeNet, task: Task) -> dict[str, Tensor]:
        """All weights of the task: the background's scores go last, and its boxes are dropped;
        offsets are in units of task.box_std, where the file has them in widths and heights."""
        backbone: Any = task.backbone
        tensors = {f"backbone.{k}": v for k, v in trunk_tensors(net, backbone).items()}
        state = task.state_dict()
        kept6, kept7 = net.kept("fc6"), net.kept("fc7")
        for name, kept in (("fc6", 1.0), ("fc7", kept6)):
            for part, scale in (("weight", kept), ("bias", 1.0)):
                key = f"backbone.tail.{name}.{part}"
                tensors[key] = net.tensor(f"{name}.{part}", state[key].shape) * scale
        head: Any = task.get_submodule("head")
        stds: Tensor = head.box_std[0]  # those of all classes
        count, units = self.outputs, state["head.outputs.cls_score.weight"].shape[1]
        for part, shape, scale in (("weight", (units,), kept7), ("bias", (), 1.0)):
            scores = net.tensor(f"cls_score.{part}", (count, *shape)) * scale
            tensors[f"head.outputs.cls_score.{part}"] = scores.roll(-1, 0)
            moves = net.tensor(f"bbox_pred.{part}", (4 * count, *shape)) * scale
            units_of = stds.repeat(count).view(-1, *(1 for _ in shape))
            tensors[f"head.outputs.bbox_pred.{part}"] = (moves / units_of)[4:]
        if self.rpn is not None:
            tensors |= self._rpn_tensors(net, state, self.rpn)
        return tensors

    def _rpn_tensors(
        self, net: CaffeNet, state: dict[str, Tensor], score: Layer
    ) -> dict[str, Tensor]:
        """One score per anchor, whose sigmoid is the softmax of the file's two: the object's less
        the background's, which come first."""
        conv, tensors = self._rpn_conv(net, score).name, dict[str, Tensor]()
        for part in ("weight", "bias"):
            key = f"head.rpn.conv.{part}"
            tensors[key] = net.tensor(f"{conv}.{part}", state[key].shape)
            due = state[f"head.rpn.score.{part}"].shape
            two = net.tensor(f"{score.name}.{part}", (2 * due[0], *due[1:]))
            tensors[f"head.rpn.score.{part}"] = two[due[0] :] - two[: due[0]]
            key = f"head.rpn.offset.{part}"
            tensors[key] = net.tensor(f"rpn_bbox_pred.{part}", state[key].shape)
        return tensors


def anchors_of(net: CaffeNet) -> list[tuple[int, int]]:
    """Widths and heights of a net's anchors, in the order of its outputs: three shapes, each at
    every scale; the scales are those of the proposal layer's text, else 8, 16, 32.

    Source: py-faster-rcnn, lib/rpn/generate_anchors.py.
    """
    scales: tuple[int, ...] = SCALES
    for layer in net.layers:
        text = str(layer.value("python_param", "param_str", ""))
        found = re.search(r"scales['\"]?\s*:\s*[\[(]([\d\s,]+)[\])]", text)
        if found:
            scales = tuple(int(number) for number in found[1].replace(",", " ").split())
        stride = re.search(r"feat_stride['\"]?\s*:\s*(\d+)", text)
        if stride and int(stride[1]) != BASE:
            raise DataError(f"{net.prototxt}: {layer.name} has feat_stride {stride[1]}, not {BASE}")
    sizes: list[tuple[int, int]] = []
    for ratio in RATIOS:
        width = round((BASE**2 / ratio) ** 0.5)
        height = round(width * ratio)
        sizes += [(width * scale, height * scale) for scale in scales]
    return sizes
