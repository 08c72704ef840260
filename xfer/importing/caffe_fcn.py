"""FCN-32s, 16s and 8s of Caffe (Long et al. 2015) as the task `segment`.

Names of layers: shelhamer/fcn.berkeleyvision.org. The transposed convolutions hold no weights of
their own here: those of a file must be the bilinear ones that the authors fixed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xfer.errors import DataError
from xfer.importing.caffe_net import CaffeNet, trunk_of, trunk_tensors, widths_of
from xfer.importing.plan import Plan
from xfer.importing.prototxt import Layer
from xfer.nn.fcn import FCNHead
from xfer.nn.upsample import PIXELS, bilinear_kernel, crop_between
from xfer.task import Task

MEAN = (104.00699, 116.66877, 122.67892)  # of the authors' data layers
SCORES = (("score_fr", "score-fr"), ("score_pool4", "score-pool4"), ("score_pool3", "score-pool3"))
HEADS = ("fcn32s", "fcn16s", "fcn8s")


class FCNPlan(Plan):
    """Raises DataError unless the net is an FCN-32s, 16s or 8s."""

    background = True

    def __init__(self, net: CaffeNet) -> None:
        found = [net.need(*SCORES[0]), *(net.layer(*names) for names in SCORES[1:])]
        self.scores = [layer for layer in found if layer is not None]
        if None in found[: len(self.scores)]:
            raise DataError(f"{net.prototxt}: scores on pool3, but none on pool4")
        self.outputs = self.scores[0].count("convolution_param", "num_output", 0)
        name, options = trunk_of(net)
        levels = [_level(net, layer) for layer in self.scores[1:]]
        scales = [_scale(net, layer) for layer in self.scores[1:]]
        self.ups = [layer for layer in net.layers if layer.kind == "deconvolution"]
        if len(self.ups) != len(self.scores):
            raise DataError(f"{net.prototxt}: {len(self.ups)} transposed convolutions for "
                            f"{len(self.scores)} score layers")  # fmt: skip
        large = name == "vgg16_caffe"
        self.recipe = "segment/voc12-vgg16-8s" if large else "segment/voc12"
        self.settings = {
            "backbone": name, **{f"backbone.{key}": value for key, value in options.items()},
            "backbone.mean": MEAN, "backbone.tail_widths": widths_of(net),
            "task.head": HEADS[len(levels)], "task.tail": "own", "task.levels": ("pool5", *levels),
            "task.skip_scales": tuple(scales) if any(s != 1 for s in scales) else (),
            **({"task.edges": "fade"} if levels else {}), "eval.batch": 1,
        }  # fmt: skip

    def tensors(self, net: CaffeNet, task: Task) -> dict[str, Tensor]:
        head: Any = task.get_submodule("head")
        assert isinstance(head, FCNHead)
        self._check_upsampling(net, head)
        backbone: Any = task.backbone
        tensors = {f"backbone.{k}": v for k, v in trunk_tensors(net, backbone).items()}
        state = task.state_dict()
        before = {"fc6": 1.0, "fc7": net.kept("fc6"), self.scores[0].name: net.kept("fc7")}
        names = {"tail.fc6": "fc6", "tail.fc7": "fc7"}
        names |= {f"head.score.{n}": layer.name for n, layer in enumerate(self.scores)}
        for ours, theirs in names.items():
            for part in ("weight", "bias"):
                numbers = net.tensor(f"{theirs}.{part}", state[f"{ours}.{part}"].shape)
                scale = before.get(theirs, 1.0) if part == "weight" else 1.0
                tensors[f"{ours}.{part}"] = numbers * scale
        return tensors

    def _check_upsampling(self, net: CaffeNet, head: FCNHead) -> None:
        """Raises DataError for upsampling that is not the authors': other strides, learnt weights,
        another place."""
        finer = [*head.specs[1:], PIXELS]
        place = head.specs[0].offset  # of the sums, which are made on a crop of the finer map
        for number, (up, spec, fine) in enumerate(zip(self.ups, head.specs, finer, strict=True)):
            group = "convolution_param"
            kernel, stride = up.count(group, "kernel_size", 0), up.count(group, "stride", 1)
            if stride * fine.stride != spec.stride:
                raise DataError(f"{net.prototxt}: {up.name} has stride {stride}, where scores of "
                                f"stride {spec.stride} meet a map of {fine.stride}")  # fmt: skip
            _check_bilinear(net, up, kernel)
            cropped = up.tops[0] if fine is PIXELS else self.scores[number + 1].tops[0]
            crop = next((x for x in net.layers if x.kind == "crop" and cropped in x.bottoms), None)
            offset = crop.value("crop_param", "offset", None) if crop is not None else None
            due = crop_between(replace(spec, offset=place), fine, kernel)
            place = fine.offset + due * fine.stride
            if offset is not None and offset != (-due if fine is PIXELS else due):
                assert crop is not None
                raise DataError(f"{net.prototxt}: {crop.name} crops {offset}, where the geometry "
                                f"asks for {abs(due):g}")  # fmt: skip


def _level(net: CaffeNet, layer: Layer) -> str:
    """The map that a score layer reads."""
    source = net.source(layer)
    if source is not None and source.kind == "scale":
        source = net.source(source)
    if source is None or source.kind != "pooling":
        raise DataError(f"{net.prototxt}: {layer.name} does not read a pooled map")
    return source.name


def _scale(net: CaffeNet, layer: Layer) -> float:
    """The factor on the map before it is scored."""
    source = net.source(layer)
    if source is None or source.kind != "scale":
        return 1.0
    array = net.weights.get(f"{source.name}.weight")
    if array is None:
        filler = source.value("scale_param", "filler", {})
        values = filler.get("value", [1.0]) if isinstance(filler, dict) else [1.0]
        return float(values[0])
    net.used.add(f"{source.name}.weight")
    if array.min() != array.max() or not array.min() > 0:
        raise DataError(f"{net.model}: {source.name} has several factors, or none above 0")
    return float(f"{array.flat[0]:.6g}")  # 0.01, not the float32 nearest to it


def _check_bilinear(net: CaffeNet, up: Layer, kernel: int) -> None:
    array = net.weights.get(f"{up.name}.weight")
    if array is None:  # fixed, so some files leave them out
        return
    net.used.add(f"{up.name}.weight")
    weights = torch.from_numpy(array)
    count = weights.shape[0] if weights.ndim == 4 else 0
    due = torch.zeros_like(weights)
    if count and weights.shape[1:] == (1, kernel, kernel):
        due[:, 0] = bilinear_kernel(kernel)
    elif count and weights.shape == (count, count, kernel, kernel):
        due[range(count), range(count)] = bilinear_kernel(kernel)
    if not count or not torch.allclose(weights, due, atol=1e-5):
        raise DataError(
            f"{net.model}: {up.name} is not bilinear upsampling",
            "transposed convolutions with learnt weights are not supported",
        )
