"""timm's nets as backbones: timm:NAME, with or without .TAG of the published weights.

Maps come from timm's own `forward_intermediates`, with the names of its feature_info; vision
transformers return their tokens as maps of stride 14 or 16. Layers after the deepest map are
pruned, so that every parameter gets a gradient.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import timm
from torch import Tensor, nn

from xfer.backbones.base import Backbone
from xfer.backbones.sizes import WRONG_SIZE, grids, takes
from xfer.errors import XferError, nearest
from xfer.types import FeatureSpec, Preprocess

# each family's options for pictures of any size: vision transformers with and without padding to
# whole patches, windowed transformers, all others
_ANY_SIZE: tuple[dict[str, bool], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
    {},
)


# options of timm.create_model that name files and places to fetch weights from
_SOURCES = ("checkpoint_path", "cache_dir", "pretrained")


def names(glob: str = "*") -> list[str]:
    """Names of timm's nets that match a shell pattern."""
    return timm.list_models(glob)


def preprocess_of(config: dict[str, Any]) -> Preprocess:
    """timm's pretrained_cfg as a Preprocess."""
    side = config["input_size"][-1]
    share = config.get("crop_pct") or 0.875
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return Preprocess(mean, std, "rgb", 1 / 255, side, round(side / share))


class TimmBackbone(Backbone):
    """A timm net as a Backbone.

    Args:
        name: the backbone's full name.
        model: timm's net; pruned unless `keep_head`.
        map_names: one name per intermediate, shallow to deep.
        reductions: input pixels per cell, from timm's feature_info.
        keep_head: keep the classifier.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        map_names: list[str],
        reductions: list[int],
        keep_head: bool,
    ) -> None:
        super().__init__(name, preprocess_of(model.pretrained_cfg), map_names, aliases={"": "net."})
        if not keep_head:
            # Norms and heads after the last map would never get a gradient
            model.prune_intermediate_layers(
                list(range(len(map_names))), prune_norm=True, prune_head=True
            )
        self.net = model
        self.reductions = dict(zip(map_names, reductions, strict=True))
        self.keep_head = keep_head
        self._sizes = None
        # The head is part of `net`; this attribute only shows that it exists
        self.__dict__["classifier"] = model.get_classifier() if keep_head else None

    def maps(self, images: Tensor, want: Collection[str]) -> dict[str, Tensor]:
        wanted = sorted(self.map_names.index(name) for name in want)
        maps = self.net.forward_intermediates(
            images,
            indices=wanted,
            stop_early=True,
            intermediates_only=True,
            output_fmt="NCHW",
        )
        return {self.map_names[index]: x for index, x in zip(wanted, maps, strict=True)}

    def _derive(self) -> None:
        super()._derive()
        assert self._specs is not None
        for name, spec in self._specs.items():
            side, cells = self.preprocess.size, self._cells[name]
            stride = min((self.reductions[name], spec.stride), key=lambda n: abs(n - side / cells))
            if not 2 / 3 < stride * cells / side < 3 / 2:  # pixels are folded into channels first
                stride = round(side / cells)
            if spec.stride != stride:
                # A reshape lost the windows: patches are centred, attention sees everything
                self._specs[name] = FeatureSpec(name, spec.channels, stride, side, (stride - 1) / 2)
                self._non_local |= {name}

    def logits(self, images: Tensor) -> Tensor:
        if not self.keep_head:
            return super().logits(images)
        return self.net(self._fit(images)[0])

    def _remake(self, side: int) -> bool:
        if not hasattr(self.net, "set_input_size"):
            return False
        before, native = self.net, self.preprocess.size
        grids_before = grids(self, native, native)
        self.net = copy.deepcopy(before)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # timm's message about interpolated positions
                self.net.set_input_size(img_size=(side, side))
            works = grids_before is not None and takes(self, side, side, grids_before)
        except (*WRONG_SIZE, TypeError):  # some of timm's nets scale only windows or patches
            works = False
        if not works:
            self.net = before
        elif self.keep_head:
            self.__dict__["classifier"] = self.net.get_classifier()
        return works

    def trunk_stages(self) -> list[tuple[str, nn.Module]]:
        """The stem as one stage, named after its first layer, then one stage per block."""
        head = {id(p) for p in self.classifier.parameters()} if self.classifier else set[int]()
        parts = _parts(self.net, self.map_names)
        stem = _stem_length(parts, self.map_names)
        kept = [[p for p in parts[:stem] if _weights(p[1], head)]]
        kept += [[p] for p in parts[stem:] if _weights(p[1], head)]
        loose = list(self.net.parameters(recurse=False))  # positions, class tokens
        if loose:
            kept[0].append(("embed", nn.ParameterList(loose)))
        return [
            (run[0][0].split(".")[0] if len(run) > 1 else run[0][0],
             run[0][1] if len(run) == 1 else nn.ModuleList(module for _, module in run))
            for run in kept if run
        ]  # fmt: skip


def _weights(module: nn.Module, but: set[int]) -> bool:
    return any(id(p) not in but for p in module.parameters())


def _parts(net: nn.Module, map_names: Sequence[str]) -> list[tuple[str, nn.Module]]:
    """A net's children; sequences of blocks are split unless the whole sequence is a map."""
    parts: list[tuple[str, nn.Module]] = []
    for name, child in net.named_children():
        run = isinstance(child, nn.Sequential | nn.ModuleList) and name not in map_names
        inner = list(child.named_children()) if run else []
        parts += [(f"{name}.{key}", part) for key, part in inner] or [(name, child)]
    return parts


def _stem_length(parts: Sequence[tuple[str, nn.Module]], map_names: Sequence[str]) -> int:
    """Number of parts before the first block: convolutions and norms, patches and positions.

    The stem ends with the first map; it holds at least one part with weights.
    """
    runs = {name.split(".")[0] for name in map_names}
    start = parts[0][0].split(".")[0]
    weights = False
    for index, (name, module) in enumerate(parts):
        run, dot, _ = name.partition(".")
        inside = any(m == name or m.startswith(f"{name}.") for m in map_names)
        block = any(True for m in module.children() if _weights(m, set())) and (
            inside or (dot and (run in runs or run != start))
        )
        if block and weights:
            return index
        weights = weights or _weights(module, set())
        if weights and inside:
            after = parts[index + 1 : index + 2]
            norm = [m for _, m in after if not list(m.children()) and _weights(m, set())]
            return index + 1 + all(p.ndim == 1 for m in norm for p in m.parameters()) * len(norm)
    return len(parts)


def _create(model: str, options: dict[str, Any]) -> Any:
    """Creates timm's net, for pictures of any size if its family has an option for that."""
    for size_options in _ANY_SIZE:
        try:
            return timm.create_model(model, pretrained=False, **{**size_options, **options})
        except TypeError as error:
            if not any(word in str(error) for word in size_options if word not in options):
                raise
    raise AssertionError("the last of _ANY_SIZE has no options")


def from_timm(name: str, model: str, classifier: bool, **options: Any) -> TimmBackbone:
    """A timm net with feature maps, as a Backbone.

    Args:
        name: the backbone's full name, for messages.
        model: timm's name, e.g. "resnet18" or "resnet18.a1_in1k".
        classifier: keep its classifier (`logits`).
        options: for timm.create_model (img_size, drop_path_rate, ...). If the net can, it takes
            pictures of any size: timm then interpolates the learnt positions.

    Raises: XferError if timm has no such net, or the net has no maps.
    """
    for option in options:
        if option.startswith(_SOURCES):
            raise XferError(
                f"timm:{model}: the option {option} would have timm load weights",
                "--weights FILE, imagenet or none: xfer reads them, and runs nothing in them",
            )
    if not timm.is_model(model):
        bare = model.partition(".")[0]
        raise XferError(f"timm has no net {model!r}", nearest(bare, timm.list_models()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm warns of renamed nets and of its own deprecations
        try:
            net = _create(model, options)
        except Exception as error:  # by the options' values, anything
            why = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise XferError(f"timm:{model}: {why}") from None
    if not hasattr(net, "forward_intermediates") or not getattr(net, "feature_info", None):
        raise XferError(f"timm's {model} has no feature maps", "xfer models ls 'timm:*resnet*'")
    info = list(net.feature_info)
    return TimmBackbone(
        name,
        net,
        [str(entry["module"]) or "stem" for entry in info],
        [int(entry["reduction"]) for entry in info],
        classifier,
    )


def plain(model: str, options: dict[str, Any], side: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """timm's own net, to take weights back to it: as timm makes it, then for pictures of `side`
    pixels; each with the options that were added."""
    for added in ({}, {"img_size": side}, *_ANY_SIZE[:-1]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                net = timm.create_model(model, pretrained=False, **{**options, **added})
            except Exception:  # by the options, anything
                continue
        yield net.eval(), dict(added)
