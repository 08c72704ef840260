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

# what a backbone's name may begin with that is no module of the user's
SCHEMES = ("timm", "torchvision")
backbones: Registry[Callable[..., Backbone]] = Registry(
    "backbone", "xfer.backbones", "xfer.backbones"
)


class Backbone(nn.Module):
    """A net that yields feature maps by name. A subclass says how in `maps`.

    Args:
        name: what `create_backbone` was asked for.
        preprocess: what the net expects of its input.
        map_names: names of the spatial maps, shallow to deep.
        tail: the net's own fully connected layers up to its last hidden one, or None.
        classifier: reads what the tail gives (without a tail: the last map, (N, C, h, w)) and
            returns logits (N, classes); None where it was not asked for.

    Attributes:
        aliases: prefixes of names in published weight files -> prefixes of names here.
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
        self._mixed: frozenset[str] = frozenset()
        self._cells: dict[str, int] = {}  # rows of each map at the net's own size
        # a subclass whose nets may not take every size says None: they are tried when it matters
        self._sizes: Sizes | None = ANY

    def maps(self, images: Tensor, want: Collection[str]) -> dict[str, Tensor]:
        """The wanted spatial maps; computes nothing beyond the deepest of them."""
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
        """Geometry of each spatial map, shallow to deep; derived from the layers, then kept."""
        if self._specs is None:
            self._derive()
        assert self._specs is not None
        return self._specs

    @property
    def mixed(self) -> frozenset[str]:
        """Maps behind attention or gates of a global pooling: cells also depend on far pixels."""
        if self._specs is None:
            self._derive()
        return self._mixed

    def _derive(self) -> None:
        side = self.preprocess.size
        seen = trace(self, (side, side), self.map_names)
        specs: dict[str, FeatureSpec] = {}
        mixed: set[str] = set()
        for name in self.map_names:
            ident, shape = seen.outputs[name]
            view = seen.views[ident]
            window = view.larger
            self._cells[name] = shape[2]
            # Attention sees the whole picture; a gate is left out, as usual
            field = max(window.size, side) if view.mixing == ATTENDED else window.size
            specs[name] = FeatureSpec(name, shape[1], window.step, field, window.centre)
            if view.mixing != LOCAL:
                mixed.add(name)
        self._specs, self._mixed = specs, frozenset(mixed)

    @property
    def sizes(self) -> Sizes:
        """The sizes of pictures that the net itself takes; `forward` takes every size."""
        if self._sizes is None:
            self._sizes = find_sizes(self)
        return self._sizes

    @property
    def fixed_side(self) -> int:
        """Side of the one square that the net can see, pixels; 0: it sees others."""
        return self.sizes.fixed

    def side_for(self, side: int) -> int:
        """The side at which the net sees square pictures that are asked for at `side`, pixels.

        That, but for nets of one size; 0 asks for the net's own.
        """
        own = self.preprocess.size
        return own if side in (0, own) else self.fixed_side or side

    @property
    def mean_colour(self) -> list[float]:
        """The mean that the net subtracts, RGB 0..255: padding of that colour is zero to it."""
        own = self.preprocess
        mean = [m / own.scale for m in own.mean]
        return mean if own.channels == "rgb" else mean[::-1]

    def adapt(self, side: int) -> None:
        """Tells the net the side of the pictures to come, pixels, once its weights are loaded;
        0: its own size.

        A net of one size that can be made anew for another, its learnt positions interpolated, is:
        `preprocess.size` then is the new one, a multiple of the deepest stride. All other nets
        stay as they are.
        """
        if side in (0, self.preprocess.size) or not self.fixed_side:
            return
        step = max(spec.stride for spec in self.specs.values())
        side = -(-side // step) * step
        if side != self.preprocess.size and self._remake(side):
            self.preprocess = self.preprocess.at(side)
            self._specs, self._sizes = None, Sizes(fixed=side)

    def _remake(self, side: int) -> bool:
        """Makes the net, which takes one size alone, anew for another; False: that can't be."""
        return False

    def check_side(self, side: int, layer: str) -> None:
        """Raises XferError unless pictures of this side, in pixels, reach a layer.

        Small ones leave no cell of deep maps.
        """
        own = self.preprocess.size
        if side == own:
            return
        with contextlib.suppress(*WRONG_SIZE):  # also what can't be run without data
            trace(self, (side, side), (layer,))
            return
        try:
            with torch.no_grad():
                copy.deepcopy(self).eval()(torch.zeros(1, 3, side, side), want=(layer,))
        except WRONG_SIZE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise XferError(
                f"pictures of {side} px don't reach {layer} of {self.name}: {reason}",
                f"the net's own size is {own} px",
            ) from None

    def forward(self, images: Tensor, want: str | Sequence[str] | None = None) -> dict[str, Tensor]:
        """The wanted layers, computed no further than the deepest.

        Args:
            images: (N, 3, H, W) floating, normalised (see `normalise`); of sizes that the net
                does not take, they are padded or scaled down (see xfer.backbones.sizes).
            want: names out of `layers`; default: conv5, or the last map where there is none.

        Returns: name -> (N, C, h, w) for maps, (N, D) after ReLU for layers of the tail.
        Raises: XferError for a name that the net does not have.
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
        found = self.maps(shown, below | {self.last} if deep else below)
        if shown is not images:
            given = (images.shape[2], images.shape[3])
            found = {
                name: on_own_grid(x, self.specs[name], given, filled) for name, x in found.items()
            }
        if deep:
            assert self.tail is not None
            found = {**found, **self.tail.hidden(found[self.last], deep)}
        return {name: found[name] for name in names}

    def _fit(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The pictures in a size that the net takes, and the height and width that they fill."""
        height, width = images.shape[2:]
        if height == width == self.preprocess.size:
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
        """(name, module) shallow to deep, tail layers included: what freezing speaks of.

        Every parameter of the backbone, its classifier apart, is in exactly one of them.
        """
        return self.trunk_stages() + (self.tail.stages() if self.tail is not None else [])

    def stages_to(self, layer: str) -> list[tuple[str, nn.Module]]:
        """The stages that a map needs: those whose parameters a gradient from it reaches."""
        side = self.preprocess.size
        was_training = self.training
        self.eval()
        self(torch.zeros(1, 3, side, side), want=(layer,))[layer].sum().backward()
        self.train(was_training)
        kept = [
            (name, module)
            for name, module in self.stages()
            if any(p.grad is not None for p in module.parameters())
        ]
        self.zero_grad(set_to_none=True)
        return kept

    def normalise(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N, 3, H, W) uint8 RGB -> what the net reads, of `dtype`, in the same memory format."""
        p = self.preprocess
        if p.channels == "bgr":
            images = images.flip(1)
        scale = [p.scale / std for std in p.std]
        shift = [-mean / std for mean, std in zip(p.mean, p.std, strict=True)]
        return scale_and_shift(images, scale, shift, dtype)


class SequentialBackbone(Backbone):
    """A backbone whose trunk is one chain of modules.

    Args:
        trunk: the chain; tap[name] is the index of the module whose output has that name.
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
        found: dict[str, Tensor] = {}
        deepest = max(self.taps[name] for name in want)
        x = images
        for index, module in enumerate(self.trunk):
            x = module(x)
            for name in want:
                if self.taps[name] == index:
                    found[name] = x
            if index == deepest:
                break
        return found

    def trunk_stages(self) -> list[tuple[str, nn.Module]]:
        """One stage a module or run of modules with parameters, named after the next tap."""
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
