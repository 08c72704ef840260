"""Nets whose weights come from a file are made without drawing random ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xfer.backbones.build import make_backbone
from xfer.runs.undrawn import Undrawn


class Drawn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        nn.init.trunc_normal_(self.fc.weight)
        self.token = nn.Parameter(torch.empty(4).normal_())
        self.register_buffer("places", torch.empty(4).uniform_(1, 2), persistent=False)


def test_parameters_are_zero_and_buffers_are_drawn() -> None:
    with Undrawn():
        net = Drawn()
    assert not net.fc.weight.any() and not net.fc.bias.any()
    assert isinstance(net.places, torch.Tensor) and (net.places >= 1).all()
    again = Drawn()
    assert again.fc.weight.any() and again.fc.bias.any()


@pytest.mark.parametrize("name", ["resnet18", "timm:vit_tiny_patch16_224"])
def test_a_net_filled_from_a_state_is_the_same(name: str) -> None:
    drawn = make_backbone(name, weights="none")
    with Undrawn():
        net = make_backbone(name, weights="none")
    assert not any(p.ndim > 1 and p.std() > 0 for p in net.parameters())
    net.load_state_dict(drawn.state_dict())
    unsaved = {n: b for n, b in drawn.named_buffers() if n not in drawn.state_dict()}
    for key, tensor in {**drawn.state_dict(), **unsaved}.items():
        found = {**net.state_dict(), **dict(net.named_buffers())}[key]
        assert torch.equal(found, tensor), key
