"""A linear layer as the product of two thinner ones, by truncated SVD."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xfer.errors import XferError, nearest


class LowRankLinear(nn.Module):
    """y = U (S V' x) + b with `rank` singular values: rank * (in + out) products, not in * out.

    Source: Girshick 2015, sec. 3.1: the first layer has no bias, the second the original one.
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
        """The best least-squares approximation of this rank to a layer's weights.

        Raises: XferError unless 1 <= rank <= the smaller side of the weights.
        """
        max_rank = min(linear.weight.shape)
        if not 1 <= rank <= max_rank:
            raise XferError(f"rank {rank} is out of range: a layer of {tuple(linear.weight.shape)} "
                            f"has 1 to {max_rank} singular values")  # fmt: skip
        # from the smaller Gram matrix: 9216 x 4096 weights take seconds instead of minutes
        weight = linear.weight.double()
        wide = weight.shape[1] >= weight.shape[0]
        gram = weight @ weight.T if wide else weight.T @ weight
        vectors = torch.linalg.eigh(gram).eigenvectors[:, -rank:].flip(1)
        thin = LowRankLinear(linear.in_features, linear.out_features, rank, linear.bias is not None)
        first, second = (vectors.T @ weight, vectors) if wide else (vectors.T, weight @ vectors)
        thin.first.weight.copy_(first)
        thin.second.weight.copy_(second)
        if linear.bias is not None:
            thin.second.bias.copy_(linear.bias)
        return thin.to(linear.weight.device).train(linear.training)


def replace_linear(net: nn.Module, ranks: Mapping[str, int], approximate: bool = False) -> None:
    """Replaces linear layers by low-rank ones, found by the last part of their names.

    Args:
        net: changed in place; ranks: fc6 -> 1024; approximate: keep the layers' weights,
            approximated; else new ones, for a state that is about to be loaded.

    Raises: XferError for a name of no linear layer, or of two.
    """
    layers = {name: module for name, module in net.named_modules() if isinstance(module, nn.Linear)}
    for wanted, rank in ranks.items():
        matching = [name for name in layers if name.rpartition(".")[2] == wanted]
        if len(matching) != 1:
            lasts = {name.rpartition(".")[2] for name in layers}
            names = sorted(name for name in lasts if not name.isdecimal())  # indices in a sequence
            raise XferError(
                f"no linear layer is called {wanted!r}",
                nearest(wanted, names) if names else "this model has no fc6 or fc7 to make thinner",
            )
        linear = layers[matching[0]]
        bias = linear.bias is not None
        thin = (
            LowRankLinear.of(linear, rank)
            if approximate
            else LowRankLinear(linear.in_features, linear.out_features, rank, bias)
        )
        parent, _, last = matching[0].rpartition(".")
        setattr(net.get_submodule(parent), last, thin)
