"""A frozen net as a function: uint8 pictures in, one vector per layer out."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from xfer.backbones.base import Backbone
from xfer.backbones.build import make_backbone
from xfer.backbones.report import WeightReport
from xfer.backbones.weights import load_weights
from xfer.data.transforms.crops import EvalTransform
from xfer.device import Place, find_device, find_precision
from xfer.errors import DataError, XferError, nearest
from xfer.ops.fixed import to_host
from xfer.types import LARGEST_SIDE, Preprocess

POOLS = {
    "flatten": "every cell of the map, channel by channel",
    "avg": "the mean of each channel",
    "max": "the maximum of each channel",
    "grid2": "the means of each channel's four quarters",
}
CROPS = {
    "centre": "the middle square",
    "flip": "the middle square and its mirror image",
    "10crop": "corners and middle, with mirror images (Krizhevsky et al. 2012, sec. 4.1)",
}
VIEWS = {
    "mean": "the vectors of a picture's views are averaged",
    "concat": "the vectors are concatenated",
}
COUNT = {"centre": 1, "flip": 2, "10crop": 10}
# part of every cache key: raise it when decoding or cutting of pictures changes
VERSION = 2


@dataclass(frozen=True)
class Choice:
    """Which features: everything that their values depend on, except the pictures.

    backbone  | a name as in create_backbone; options: of the backbone
    weights   | imagenet, none, a file or run:DIR
    layers    | names, as in `xfer models show`
    pool      | flatten, avg, max, grid2: how a map becomes a vector; tail layers are vectors
    crops     | centre, flip, 10crop; views: mean or concat
    size      | input side in pixels; 0: the net's own
    precision | auto, fp32, bf16, fp16
    """

    backbone: str = "alexnet"
    weights: str = "imagenet"
    layers: tuple[str, ...] = ("pool5",)
    pool: str = "flatten"
    crops: str = "centre"
    views: str = "mean"
    size: int = 0
    device: str = "auto"
    precision: str = "auto"
    options: tuple[tuple[str, Any], ...] = ()

    def check(self) -> None:
        """Raises XferError for an unknown value."""
        for name, value, valid in (
            ("pool", self.pool, POOLS), ("crops", self.crops, CROPS), ("views", self.views, VIEWS),
            ("precision", self.precision, ("auto", "fp32", "bf16", "fp16")),
        ):  # fmt: skip
            if value not in valid:
                raise XferError(f"unknown {name} {value!r}", nearest(str(value), valid))
        if not self.layers:
            raise XferError("no layer given", "--layer pool5, or several: --layer pool5,fc7")
        if self.size < 0:
            raise XferError(f"size {self.size} is below 0 pixels", "0: the net's own size")
        if self.size > LARGEST_SIDE:
            raise XferError(f"size {self.size} is above {LARGEST_SIDE} pixels")


@dataclass
class FeatureNet:
    """A net with its weights on a device, which computes the same layers for every batch.

    preprocess | at the size in use; place: device and precision
    digest     | of the weights: the file's sha256, or the tensors' if a file filled only some
    report     | which weights matched
    """

    net: Backbone
    choice: Choice
    place: Place
    preprocess: Preprocess
    digest: str
    report: WeightReport
    dtype: torch.dtype = torch.float32
    autocast: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        return self.choice.layers

    @property
    def side(self) -> int:
        return self.preprocess.size

    @property
    def short_side(self) -> int:
        """As in the task classify: the decoder shrinks, the antialiased `resize` does the rest,
        in a third of the time of area averaging, and as torchvision does."""
        return 2 * self.preprocess.resize

    @property
    def views(self) -> int:
        """Crops per picture, mirror images not counted."""
        return 10 if self.choice.crops == "10crop" else 1

    def transform(self) -> EvalTransform:
        """Cuts a picture: uint8 (H, W, 3) -> (size, size, 3), or (10, size, size, 3)."""
        crops = "10crop" if self.choice.crops == "10crop" else "centre"
        return EvalTransform(self.preprocess.size, self.preprocess.resize, crops)

    def signature(self, layer: str) -> bytes:
        """32 bytes that change with anything that a picture's vector of this layer depends on."""
        c = self.choice
        parts = [
            VERSION, c.backbone, sorted(dict(c.options).items()), self.digest, layer,
            "vector" if self._is_vector(layer) else c.pool, c.crops, c.views,
            asdict(self.preprocess), self.place.precision, self.place.device.type,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, default=str).encode()).digest()

    def widths(self) -> dict[str, int]:
        """Layer -> D, from one pass over a blank picture."""
        side = self.preprocess.size
        blank = torch.zeros((self.views, 3, side, side), dtype=torch.uint8)
        return {name: values.shape[1] for name, values in self(blank).items()}

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        """Layer name -> float32 (N, D).

        Shapes: images uint8 (N * views, 3, size, size), the views of a picture in a row.
        """
        images = self.place.send(images)
        images = images.contiguous(memory_format=torch.channels_last)
        pooled = self._pooled(images)
        if self.choice.crops == "flip":
            mirrored = self._pooled(images.flip(3))
            pooled = {k: torch.stack((v, mirrored[k]), 1).flatten(0, 1) for k, v in pooled.items()}
        many = COUNT[self.choice.crops]
        rows = {k: v.unflatten(0, (-1, many)) for k, v in pooled.items()}
        if self.choice.views == "mean":
            rows = {k: v.mean(1) for k, v in rows.items()}
        arrays = to_host([values.flatten(1) for values in rows.values()])
        return dict(zip(rows, arrays, strict=True))

    def _pooled(self, images: Tensor) -> dict[str, Tensor]:
        """Layer name -> float32 (N, D) on the device."""
        layers = self.choice.layers
        if self.autocast:
            with self.place.autocast():
                maps = self.net(self.net.normalise(images), layers)
        else:
            maps = self.net(self.net.normalise(images, self.dtype), layers)
        return {name: pooled(values, self.choice.pool) for name, values in maps.items()}

    def _is_vector(self, layer: str) -> bool:
        return layer not in self.net.map_names


def pooled(values: Tensor, pool: str) -> Tensor:
    """A map (N, C, h, w) as float32 (N, D): C * h * w, C, C or C * 4; (N, D) is unchanged."""
    if values.ndim == 2 or pool == "flatten":
        return values.float().flatten(1)
    if pool == "avg":
        return values.float().mean((2, 3))
    if pool == "max":
        return values.amax((2, 3)).float()
    return F.adaptive_avg_pool2d(values.float(), 2).flatten(1)


def load_net(
    choice: Choice, say: Callable[[str], None] | None = None, place: Place | None = None
) -> FeatureNet:
    """Loads the net of a choice, ready to run.

    Args: say: called with lines about downloads; place: where it runs, by default as chosen.

    Raises: XferError for an unknown name, DataError for weights that are missing or lack a
        requested layer.
    """
    choice.check()
    if place is None:
        device = find_device(choice.device)
        place = Place(device, find_precision(choice.precision, device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # parameters that a weight file does not fill are the same each time
        net = make_backbone(choice.backbone, weights="none", **dict(choice.options))
    for layer in choice.layers:
        if layer not in net.layers:
            raise XferError(
                f"{choice.backbone} has no layer {layer!r}",
                nearest(layer, net.layers, many=len(net.layers)),
            )
        net.check_side(choice.size or net.preprocess.size, layer)
    report = load_weights(net, choice.weights, net=choice.backbone, say=say)
    _check_filled(net, choice, report)
    if all(layer in net.map_names for layer in choice.layers):
        net.tail = None  # not needed: AlexNet's is 94 % of its weights
        unused = [name for name in report.missing if name.startswith("tail.")]
        report = replace(report, missing=[n for n in report.missing if n not in unused])
    digest = report.digest if report.digest and not report.missing else digest_of(net.state_dict())
    net.eval().requires_grad_(False)
    place.put(net)
    net.adapt(choice.size)
    preprocess = net.preprocess.at(net.side_for(choice.size))
    net_on_device = FeatureNet(net, choice, place, preprocess, digest, report)
    if place.precision != "fp32":
        _lower(net_on_device)
    return net_on_device


def _check_filled(net: Backbone, choice: Choice, report: WeightReport) -> None:
    """Raises DataError if a requested layer of the tail is missing from the weights."""
    wanted = [layer for layer in choice.layers if layer not in net.map_names]
    if choice.weights == "none" or not wanted or net.tail is None:
        return
    names = list(net.tail.names)
    needed = names[: max(names.index(layer) for layer in wanted) + 1]
    lacks = [n for n in needed if any(m.startswith(f"tail.{n}.") for m in report.missing)]
    if lacks:
        raise DataError(
            f"{report.source} has no {', '.join(lacks)}: {wanted[-1]} would be random numbers",
            f"choose from {', '.join(net.map_names)}, or use other --weights",
        )


def _lower(feature_net: FeatureNet) -> None:
    """Casts the weights of convolutions and linear layers to the precision, if the net runs then.

    This saves autocast's casts, a third of AlexNet's time on a CPU; norms keep fp32. A net whose
    own code mixes dtypes runs under autocast, as in training.
    """
    dtype = torch.bfloat16 if feature_net.place.precision == "bf16" else torch.float16
    heavy = [m for m in feature_net.net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    for module in heavy:
        module.to(dtype)
    feature_net.dtype = dtype
    side = feature_net.preprocess.size
    blank = torch.zeros((1, 3, side, side), dtype=torch.uint8, device=feature_net.place.device)
    try:
        with torch.inference_mode():
            feature_net._pooled(blank)
    except RuntimeError:
        for module in heavy:
            module.to(torch.float32)
        feature_net.dtype, feature_net.autocast = torch.float32, True


def digest_of(state: Mapping[str, Tensor]) -> str:
    """sha256 of weights: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(
            value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def fixed_options(options: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    """Options of a backbone in the form of `Choice`: sorted, lists as tuples, hashable."""
    ordered = sorted((options or {}).items())
    return tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in ordered)


_loaded: dict[Choice, FeatureNet] = {}
_loading = threading.Lock()
_KEPT = 3


def shared_net(choice: Choice) -> FeatureNet:
    """Like `load_net`, but loads each net once per process; keeps the last ones used."""
    with _loading:
        net = _loaded.pop(choice, None) or load_net(choice)
        _loaded[choice] = net
        while len(_loaded) > _KEPT:
            _loaded.pop(next(iter(_loaded)))
        return net


def layer_names(layers: str | Sequence[str]) -> tuple[str, ...]:
    """ "pool5,fc7" or a sequence of names -> names, each once."""
    names = layers.split(",") if isinstance(layers, str) else list(layers)
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
