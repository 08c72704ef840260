"""Linear layers as the product of two thinner ones, by truncated SVD."""

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


def most_useful_rank(linear: nn.Linear) -> int:
    """The largest rank whose two layers hold fewer weights than the one; 0 if there is none."""
    return (linear.in_features * linear.out_features - 1) // (
        linear.in_features + linear.out_features
    )


@torch.no_grad()
def rank_keeping(linear: nn.Linear, share: float) -> int:
    """The smallest rank that keeps this share of a layer's energy, the sum of its squared singular
    values."""
    weight = linear.weight.double()
    gram = weight @ weight.T if weight.shape[1] >= weight.shape[0] else weight.T @ weight
    energy = torch.linalg.eigvalsh(gram).clamp_(min=0).flip(0).cumsum(0)
    return min(int((energy < share * energy[-1]).sum()) + 1, len(energy))


def ranks_keeping(net: nn.Module, share: float) -> dict[str, int]:
    """The rank of each linear layer that gets smaller while it keeps this share of its energy.

    Layers of less than a hundredth of the net's weights stay as they are: class scores and box
    offsets lose accuracy and save nothing. So do layers whose name another one shares.

    Raises: XferError if no layer gets smaller.
    """
    least = sum(p.numel() for p in net.parameters()) / 100
    ranks: dict[str, int] = {}
    needed: list[str] = []
    for name, found in _by_last_name(net).items():
        linear = found[0][1]
        if len(found) > 1 or name.isdecimal() or linear.weight.numel() < least:
            continue
        rank, most = rank_keeping(linear, share), most_useful_rank(linear)
        if rank <= most:
            ranks[name] = rank
        else:
            needed.append(f"{name} needs rank {rank}, and is smaller only up to {most}")
    if not ranks:
        raise XferError(
            f"no linear layer gets smaller with {share:g} of its energy kept"
            + (f": {'; '.join(needed)}" if needed else ""),
            f"keep less: auto:{share / 2:g}" if needed else "this model has no large linear layer",
        )
    return ranks


def replace_linear(net: nn.Module, ranks: Mapping[str, int], approximate: bool = False) -> None:
    """Replaces linear layers by low-rank ones, found by the last part of their names.

    Args:
        net: changed in place; ranks: fc6 -> 1024; approximate: keep the layers' weights,
            approximated; else new ones, for a state that is about to be loaded.

    Raises: XferError for a name of no linear layer, or of two, and for a rank with which an
        approximated layer would be no smaller.
    """
    layers = _by_last_name(net)
    for wanted, rank in ranks.items():
        found = layers.get(wanted, [])
        if len(found) != 1:
            names = sorted(name for name in layers if not name.isdecimal())  # indices in a sequence
            raise XferError(
                f"no linear layer is called {wanted!r}",
                nearest(wanted, names) if names else "this model has no fc6 or fc7 to make thinner",
            )
        name, linear = found[0]
        if approximate:
            _check_smaller(wanted, linear, rank)
        bias = linear.bias is not None
        thin = (
            LowRankLinear.of(linear, rank)
            if approximate
            else LowRankLinear(linear.in_features, linear.out_features, rank, bias)
        )
        parent, _, last = name.rpartition(".")
        setattr(net.get_submodule(parent), last, thin)


def _check_smaller(name: str, linear: nn.Linear, rank: int) -> None:
    most = most_useful_rank(linear)
    if 1 <= rank <= most:
        return
    size = f"{linear.in_features} x {linear.out_features}"
    if rank < 1:
        raise XferError(f"{name}={rank}: the rank must be at least 1", f"{name}={most}")
    raise XferError(
        f"{name}={rank} would not make {name} smaller: its {size} weights become {rank} x "
        f"({linear.in_features} + {linear.out_features})",
        f"at most {name}={most}" if most else f"leave {name} out: no rank makes it smaller",
    )


def _by_last_name(net: nn.Module) -> dict[str, list[tuple[str, nn.Linear]]]:
    """Linear layers with their full names, by the last part of these."""
    layers: dict[str, list[tuple[str, nn.Linear]]] = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            layers.setdefault(name.rpartition(".")[2], []).append((name, module))
    return layers
