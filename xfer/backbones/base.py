"""What every backbone offers: named feature maps with their geometry, a tail, stages to freeze."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xfer.backbones.geometry import ATTENDED, LOCAL, trace
from xfer.backbones.report import WeightReport
from xfer.backbones.sizes import ANY, WRONG_SIZE, Sizes, find_sizes, on_own_grid
from xfer.backbones.tail import Tail
from xfer.errors import XferError, nearest
from xfer.nn.normalise import scale_and_shift
from xfer.registry import Registry
from xfer.types import FeatureSpec, Preprocess

# prefixes of a backbone's name that are not modules of the user's
SCHEMES = ("timm", "torchvision")
backbones: Registry[Callable[..., Backbone]] = Registry(
    "backbone", "xfer.backbones", "xfer.backbones"
)


class Backbone(nn.Module):
    """A net that returns feature maps by name. A subclass implements `maps`.

    Args:
        name: the name given to `create_backbone`.
        preprocess: how the net expects its input.
        map_names: names of the spatial maps, shallow to deep.
        tail: the net's own fully connected layers up to its last hidden one, or None.
        classifier: maps the tail's output (without a tail: the last map, (N, C, h, w)) to logits
            (N, classes); None if it was not asked for.

    Attributes:
        aliases: name prefixes in published weight files -> name prefixes here.
        weight_report: what was loaded, or None.
    """

    def __init__(
        self,
        name: str,
        preprocess: Preprocess,
        map_names: Sequence[str],
        *,
        tail: Tail | None = None,
        classifier: nn.Module | None = None,
        aliases: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.preprocess = preprocess
        self.map_names = tuple(map_names)
        self.tail = tail
        self.classifier = classifier
        self.aliases = aliases or {}
        self.weight_report: WeightReport | None = None
        self._specs: dict[str, FeatureSpec] | None = None
        self._non_local: frozenset[str] = frozenset()
        self._cells: dict[str, int] = {}  # rows of each map at the net's own size
        # None in a subclass whose nets may not take every size: sizes are tried when needed
        self._sizes: Sizes | None = ANY

    def maps(self, images: Tensor, want: Collection[str]) -> dict[str, Tensor]:
        """Returns the wanted spatial maps; computes nothing beyond the deepest of them."""
        raise NotImplementedError

    def trunk_stages(self) -> list[tuple[str, nn.Module]]:
        """The modules below the tail, shallow to deep; each parameter is in exactly one."""
        raise NotImplementedError

    @property
    def layers(self) -> tuple[str, ...]:
        """All names that `forward` can be asked for, shallow to deep."""
        return self.map_names + (self.tail.names if self.tail is not None else ())

    @property
    def last(self) -> str:
        """Name of the deepest spatial map."""
        return self.map_names[-1]

    @property
    def specs(self) -> dict[str, FeatureSpec]:
        """Geometry of each spatial map, shallow to deep; derived from the layers, then cached."""
        if self._specs is None:
            self._derive()
        assert self._specs is not None
        return self._specs

    @property
    def non_local(self) -> frozenset[str]:
        """Maps after attention or global-pooling gates: cells also depend on distant pixels."""
        if self._specs is None:
            self._derive()
        return self._non_local

    def _derive(self) -> None:
        side = self.preprocess.size
        seen = trace(self, (side, side), self.map_names)
        specs: dict[str, FeatureSpec] = {}
        non_local: set[str] = set()
        for name in self.map_names:
            ident, shape = seen.outputs[name]
            view = seen.views[ident]
            window = view.larger
            self._cells[name] = shape[2]
            # Attention sees the whole picture; gates are not counted, as is usual
            field = max(window.size, side) if view.mixing == ATTENDED else window.size
            specs[name] = FeatureSpec(name, shape[1], window.step, field, window.centre)
            if view.mixing != LOCAL:
                non_local.add(name)
        self._specs, self._non_local = specs, frozenset(non_local)

    @property
    def sizes(self) -> Sizes:
        """The picture sizes that the net itself takes; `forward` takes every size."""
        if self._sizes is None:
            self._sizes = find_sizes(self)
        return self._sizes

    @property
    def fixed_side(self) -> int:
        """Side of the only square size that the net takes, pixels; 0: it takes others too."""
        return self.sizes.fixed

    def side_for(self, side: int) -> int:
        """The side at which the net sees square pictures requested at `side`, pixels.

        It is `side` itself, except for nets of one size; 0 requests the net's own size.
        """
        native = self.preprocess.size
        return native if side in (0, native) else self.fixed_side or side

    @property
    def mean_colour(self) -> list[float]:
        """The mean that the net subtracts, RGB 0..255: padding of this colour becomes zero."""
        preprocess = self.preprocess
        mean = [m / preprocess.scale for m in preprocess.mean]
        return mean if preprocess.channels == "rgb" else mean[::-1]

    def adapt(self, side: int) -> None:
        """Prepares the net for pictures of this side, pixels, once its weights are loaded;
        0: its own size.

        A net of one size is rebuilt for the new size if it can be, its learnt positions
        interpolated: `preprocess.size` is then the new size, a multiple of the deepest stride.
        All other nets stay as they are.
        """
        if side in (0, self.preprocess.size) or not self.fixed_side:
            return
        step = max(spec.stride for spec in self.specs.values())
        side = -(-side // step) * step
        if side != self.preprocess.size and self._remake(side):
            self.preprocess = self.preprocess.at(side)
            self._specs, self._sizes = None, Sizes(fixed=side)

    def _remake(self, side: int) -> bool:
        """Rebuilds the net, which takes only one size, for another; False if it can't."""
        return False

    def check_side(self, side: int, layer: str) -> None:
        """Raises XferError if pictures of this side, in pixels, are too small to reach a layer."""
        native = self.preprocess.size
        if side == native:
            return
        with contextlib.suppress(*WRONG_SIZE):  # also nets that can't run on meta tensors
            trace(self, (side, side), (layer,))
            return
        try:
            with torch.no_grad():
                copy.deepcopy(self).eval()(torch.zeros(1, 3, side, side), want=(layer,))
        except WRONG_SIZE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise XferError(
                f"pictures of {side} px don't reach {layer} of {self.name}: {reason}",
                f"the net's own size is {native} px",
            ) from None

    def forward(self, images: Tensor, want: str | Sequence[str] | None = None) -> dict[str, Tensor]:
        """Returns the wanted layers; computes nothing beyond the deepest.

        Args:
            images: (N, 3, H, W) floating, normalised (see `normalise`); padded or scaled down
                if the net does not take their size (see xfer.backbones.sizes).
            want: names from `layers`; default: conv5, or the last map if there is no conv5.

        Returns: name -> (N, C, h, w) for maps, (N, D) after ReLU for layers of the tail.
        Raises: XferError for a name that is not in `layers`.
        """
        if want is None:
            want = ("conv5",) if "conv5" in self.map_names else (self.last,)
        names = (want,) if isinstance(want, str) else tuple(want)
        for name in names:
            if name not in self.layers:
                listed = nearest(name, self.layers, many=len(self.layers))
                raise XferError(f"{self.name} has no layer {name!r}", listed)
        deep = [name for name in names if name not in self.map_names]
        below = {name for name in names if name in self.map_names}
        shown, filled = self._fit(images)
        outputs = self.maps(shown, below | {self.last} if deep else below)
        if shown is not images:
            original = (images.shape[2], images.shape[3])
            outputs = {
                name: on_own_grid(x, self.specs[name], original, filled)
                for name, x in outputs.items()
            }
        if deep:
            assert self.tail is not None
            outputs = {**outputs, **self.tail.hidden(outputs[self.last], deep)}
        return {name: outputs[name] for name in names}

    def _fit(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The pictures in a size that the net takes, and the height and width they fill."""
        height, width = images.shape[2:]
        # a variable size of an exported net is compared with nothing: the answer would be kept
        known = isinstance(height, int) and isinstance(width, int)
        if known and height == width == self.preprocess.size:
            return images, (height, width)
        return self.sizes.fit(images)

    def logits(self, images: Tensor) -> Tensor:
        """Scores of the net's own classifier, (N, classes), before softmax.

        Raises: XferError if the net was made without its classifier.
        """
        if self.classifier is None:
            raise XferError(
                f"{self.name} was made without its classifier",
                "create_backbone(..., classifier=True)",
            )
        last = self.maps(self._fit(images)[0], {self.last})[self.last]
        return self.classifier(last if self.tail is None else self.tail(last))

    def stages(self) -> list[tuple[str, nn.Module]]:
        """(name, module) shallow to deep, tail layers included: the names that freezing takes.

        Every parameter of the backbone, except the classifier's, is in exactly one of them.
        """
        return self.trunk_stages() + (self.tail.stages() if self.tail is not None else [])

    def stages_to(self, layer: str) -> list[tuple[str, nn.Module]]:
        """The stages that a map depends on: those whose parameters get a gradient from it."""
        side = self.preprocess.size
        was_training = self.training
        self.eval()
        self(torch.zeros(1, 3, side, side), want=(layer,))[layer].sum().backward()
        self.train(was_training)
        reached = [
            (name, module)
            for name, module in self.stages()
            if any(p.grad is not None for p in module.parameters())
        ]
        self.zero_grad(set_to_none=True)
        return reached

    def normalise(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N, 3, H, W) uint8 RGB -> the net's input, of `dtype`, in the same memory format."""
        p = self.preprocess
        if p.channels == "bgr":
            images = images.flip(1)
        scale = [p.scale / std for std in p.std]
        shift = [-mean / std for mean, std in zip(p.mean, p.std, strict=True)]
        return scale_and_shift(images, scale, shift, dtype)


class SequentialBackbone(Backbone):
    """A backbone whose trunk is one chain of modules.

    Args:
        trunk: the chain; taps[name] is the index of the module whose output has that name.
        taps: name -> index, shallow to deep; two names may share an index.
    """

    def __init__(
        self,
        name: str,
        preprocess: Preprocess,
        trunk: nn.Sequential,
        taps: dict[str, int],
        **parts: Any,
    ) -> None:
        super().__init__(name, preprocess, tuple(taps), **parts)
        self.trunk = trunk
        self.taps = taps

    def maps(self, images: Tensor, want: Collection[str]) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}
        deepest = max(self.taps[name] for name in want)
        x = images
        for index, module in enumerate(self.trunk):
            x = module(x)
            for name in want:
                if self.taps[name] == index:
                    outputs[name] = x
            if index == deepest:
                break
        return outputs

    def trunk_stages(self) -> list[tuple[str, nn.Module]]:
        """One stage per module, or run of modules, with parameters; named after the next tap."""
        stages: list[tuple[str, nn.Module]] = []
        pending: list[nn.Module] = []
        names = {index: name for name, index in reversed(self.taps.items())}
        for index, module in enumerate(self.trunk):
            if any(True for _ in module.parameters()):
                pending.append(module)
            if pending and (index in names or index == len(self.trunk) - 1):
                stage = pending[0] if len(pending) == 1 else nn.ModuleList(pending)
                stages.append((names.get(index, f"trunk.{index}"), stage))
                pending = []
        return stages
