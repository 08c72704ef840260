"""A linear layer as the product of two thinner ones, by truncated SVD."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xfer.errors import XferError, nearest


class LowRankLinear(nn.Module):
    """y = U (S V' x) + b with `rank` singular values: rank * (in + out) products for in * out.

    Source: Girshick 2015, sec. 3.1: the first layer has no biases, the second the old ones.
    """

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.first = nn.Linear(in_features, rank, bias=False)
        self.second = nn.Linear(rank, out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))

    @staticmethod
    @torch.no_grad()
    def of(linear: nn.Linear, rank: int) -> LowRankLinear:
        """The best approximation of that rank to a layer's weights, in the sense of squares.

        Raises: XferError unless 1 <= rank <= the smaller side of the weights.
        """
        most = min(linear.weight.shape)
        if not 1 <= rank <= most:
            raise XferError(f"a rank of {rank}: a layer of {tuple(linear.weight.shape)} has 1 to "
                            f"{most} singular values")  # fmt: skip
        # of the smaller Gram matrix: 9216 x 4096 weights in seconds rather than minutes
        weight = linear.weight.double()
        wide = weight.shape[1] >= weight.shape[0]
        gram = weight @ weight.T if wide else weight.T @ weight
        vectors = torch.linalg.eigh(gram).eigenvectors[:, -rank:].flip(1)
        made = LowRankLinear(linear.in_features, linear.out_features, rank, linear.bias is not None)
        first, second = (vectors.T @ weight, vectors) if wide else (vectors.T, weight @ vectors)
        made.first.weight.copy_(first)
        made.second.weight.copy_(second)
        if linear.bias is not None:
            made.second.bias.copy_(linear.bias)
        return made.to(linear.weight.device).train(linear.training)


def replace_linear(net: nn.Module, ranks: Mapping[str, int], approximate: bool = False) -> None:
    """Puts low-rank layers in the places of linear ones, by the last part of their names.

    Args:
        net: changed in place; ranks: fc6 -> 1024; approximate: with the layers' own weights,
            else with new ones, for a state that is about to be loaded.

    Raises: XferError for a name that is no linear layer, or of two.
    """
    layers = {name: module for name, module in net.named_modules() if isinstance(module, nn.Linear)}
    for wanted, rank in ranks.items():
        found = [name for name in layers if name.rpartition(".")[2] == wanted]
        if len(found) != 1:
            lasts = {name.rpartition(".")[2] for name in layers}
            names = sorted(name for name in lasts if not name.isdecimal())  # places in a sequence
            raise XferError(
                f"no linear layer is called {wanted!r}",
                nearest(wanted, names) if names else "this model has no fc6 or fc7 to make thinner",
            )
        linear = layers[found[0]]
        bias = linear.bias is not None
        made = (
            LowRankLinear.of(linear, rank)
            if approximate
            else LowRankLinear(linear.in_features, linear.out_features, rank, bias)
        )
        parent, _, last = found[0].rpartition(".")
        setattr(net.get_submodule(parent), last, made)
