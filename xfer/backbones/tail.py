"""The fully connected layers of a net up to its last hidden one: fc6 and fc7 of AlexNet and VGG.

The head of Fast R-CNN is this tail on pooled RoIs; FCN is this tail as convolutions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from xfer.errors import XferError
from xfer.nn.dropout import Dropout, dropout
from xfer.nn.fc import linear_to_conv

WIDTHS = (4096, 4096)  # fc6 and fc7 of AlexNet and VGG


def checked_widths(widths: Sequence[int]) -> tuple[int, int]:
    """The units of fc6 and fc7. Raises XferError unless they are two whole numbers from 1 on."""
    numbers = [w for w in widths if isinstance(w, int) and w > 0]
    if len(numbers) != 2 or len(widths) != 2:
        raise XferError(f"tail_widths={widths!r}: not the units of fc6 and fc7", "[4096, 4096]")
    return numbers[0], numbers[1]


class ConvTail(nn.Module):
    """A tail turned into convolutions: (N, C, H, W) -> (N, D, H - h + 1, W - w + 1)."""

    def __init__(self, layers: Sequence[tuple[str, nn.Module]], out_channels: int) -> None:
        super().__init__()
        for name, layer in layers:
            self.add_module(name, layer)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class TailDropout(Dropout):
    """Dropout after a tail's last hidden layer, as `Tail.hidden` returns it.

    A tail that has dropout before its layers already drops as often as the net's authors do:
    nothing more is dropped after it, unless it is frozen and therefore drops nothing itself.
    """

    def __init__(self, tail: Tail) -> None:
        super().__init__(tail.dropout)
        self._tail = (tail,)  # in a tuple, so not registered: its weights are the backbone's

    def forward(self, x: Tensor) -> Tensor:
        (tail,) = self._tail
        return x if tail.dropout_first and not tail.frozen else super().forward(x)


class Tail(nn.Module):
    """Hidden fully connected layers, each with ReLU and dropout.

    Args:
        in_size: (C, h, w) of the map that fc6 takes.
        widths: units of fc6, fc7, ...
        dropout: fraction of units dropped in training, in layers that are not frozen.
        dropout_first: dropout before each layer (torchvision's AlexNet) instead of after its
            ReLU (the paper, Caffe, VGG).

    Shapes: (R, C, h, w) -> (R, widths[-1]); other spatial sizes are averaged to h x w first.
    Source: Krizhevsky et al. 2012, sec. 3.5 and 4.2.
    """

    def __init__(
        self,
        in_size: tuple[int, int, int],
        widths: Sequence[int] = WIDTHS,
        dropout: float = 0.5,
        dropout_first: bool = False,
    ) -> None:
        super().__init__()
        self.in_size = in_size
        self.dropout = dropout
        self.dropout_first = dropout_first
        self.names = tuple(f"fc{6 + i}" for i in range(len(widths)))
        features = in_size[0] * in_size[1] * in_size[2]
        for name, width in zip(self.names, widths, strict=True):
            self.add_module(name, nn.Linear(features, width))
            features = width
        self.out_features = features

    def _layers(self) -> Iterator[tuple[str, nn.Linear]]:
        for name in self.names:
            layer = getattr(self, name)
            yield name, layer

    def _run(self, x: Tensor, outputs: dict[str, Tensor], until: str | None) -> Tensor:
        if tuple(x.shape[-2:]) != self.in_size[1:]:
            x = F.adaptive_avg_pool2d(x, self.in_size[1:])
        x = x.flatten(1)
        for name, layer in self._layers():
            if self.dropout_first:
                x = dropout(x, self.dropout, layer.training)
            x = F.relu(layer(x))
            outputs[name] = x
            if name == until:
                break
            if not self.dropout_first:
                x = dropout(x, self.dropout, layer.training)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, {}, None)

    def hidden(self, x: Tensor, want: Collection[str]) -> dict[str, Tensor]:
        """The named layers after their ReLU and before their dropout, (R, D) each."""
        outputs: dict[str, Tensor] = {}
        self._run(x, outputs, max(want, key=self.names.index))
        return {name: outputs[name] for name in want}

    def drop(self, share: float) -> TailDropout:
        """Sets every layer's dropout; returns the rate for the layer after `hidden`'s last."""
        self.dropout = share
        return TailDropout(self)

    @property
    def frozen(self) -> bool:
        """Whether the last layer is in eval mode, as frozen layers are, and so drops nothing."""
        return not getattr(self, self.names[-1]).training

    def stages(self) -> list[tuple[str, nn.Module]]:
        return list(self._layers())

    def as_conv(self) -> ConvTail:
        """The same weights, copied, as an h x w and 1x1 convolutions; same mode, same dropout.

        On an (R, C, h, w) map it returns (R, D, 1, 1), equal to this tail; on a larger map it
        slides (Long et al. 2015, sec. 3.1).
        """
        channels, height, width = self.in_size
        layers: list[tuple[str, nn.Module]] = []
        for index, (name, linear) in enumerate(self._layers(), start=6):
            drop = (f"drop{index}", Dropout(self.dropout))
            if self.dropout_first:
                layers.append(drop)
            layers.append((name, linear_to_conv(linear, channels, height, width)))
            layers.append((f"relu{index}", nn.ReLU(inplace=True)))
            if not self.dropout_first:
                layers.append(drop)
            channels, height, width = linear.out_features, 1, 1
        return ConvTail(layers, self.out_features).train(self.training)
