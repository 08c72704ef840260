"""One backbone that several heads read: it runs once for the pictures of a batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xfer.backbones.base import Backbone
from xfer.errors import XferError


class SharedTrunk:
    """The maps of a batch's pictures, computed when the first head asks for any of them.

    Args: net: the backbone.

    layers | the maps that any head asks for; they are computed together
    """

    def __init__(self, net: Backbone) -> None:
        self.net = net
        self.layers: tuple[str, ...] = ()
        self._pictures: Tensor | None = None
        self._input: Tensor | None = None
        self._maps: dict[str, Tensor] | None = None

    @contextlib.contextmanager
    def once(self, pictures: Tensor) -> Iterator[None]:
        """Context in which these pictures, uint8 (N, 3, H, W), pass the backbone once. Others, such
        as mirror images, pass it each time."""
        self._pictures = pictures
        try:
            yield
        finally:
            self._pictures = self._input = self._maps = None

    def normalise(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        own = self._pictures
        if own is None or dtype != torch.float32 or not _same(images, own):
            return self.net.normalise(images, dtype)
        if self._input is None:
            self._input = self.net.normalise(own)
        return self._input

    def maps(self, images: Tensor, want: Sequence[str]) -> dict[str, Tensor]:
        if images is not self._input or not set(want) <= set(self.layers):
            return self.net(images, want=tuple(want))
        maps = self._maps
        if maps is None:
            maps = self._maps = self.net(images, want=self.layers)
        return {name: maps[name] for name in want}


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether these are the same pictures, perhaps copied."""
    return one is other or (one.shape == other.shape and torch.equal(one, other))


class HeadTrunk:
    """What one head takes for its backbone: everything is the shared one's, except its tail, which
    a head may do without while another reads it, and modes, which are not a head's to choose.

    Args: leads: whether this head prepares the backbone for the size of the pictures.
    """

    def __init__(self, shared: SharedTrunk, leads: bool) -> None:
        self.shared, self.leads = shared, leads
        self.tail: Any = shared.net.tail

    def __getattr__(self, name: str) -> Any:
        if name in ("shared", "leads", "tail"):  # not set yet, while it is copied
            raise AttributeError(name)
        return getattr(self.shared.net, name)

    @property
    def layers(self) -> tuple[str, ...]:
        tail = () if self.tail is None else self.tail.names
        return (*self.shared.net.map_names, *tail)

    def adapt(self, side: int) -> None:
        if self.leads:
            self.shared.net.adapt(side)

    def train(self, mode: bool = True) -> HeadTrunk:
        return self

    def eval(self) -> HeadTrunk:
        return self

    def stages(self) -> list[tuple[str, nn.Module]]:
        own = [] if self.tail is None else self.tail.stages()
        return [*self.shared.net.trunk_stages(), *own]

    def normalise(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        return self.shared.normalise(images, dtype)

    def __call__(self, images: Tensor, want: str | Sequence[str] | None = None) -> Any:
        net = self.shared.net
        names = (net.last,) if want is None else (want,) if isinstance(want, str) else tuple(want)
        deep = [name for name in names if name not in net.map_names]
        for name in deep:
            if name not in self.layers:
                raise XferError(f"{net.name} has no layer {name!r}", ", ".join(self.layers))
        below = [name for name in names if name not in deep]
        lowest = [net.last] if deep and net.last not in below else []
        maps = self.shared.maps(images, [*below, *lowest])
        if deep:
            maps = {**maps, **self.tail.hidden(maps[net.last], deep)}
        return {name: maps[name] for name in names}
