"""Nets that do not take every size of picture: what they take, and that their maps stay right."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

import xfer
from xfer.backbones.sizes import ANY, Sizes, on_own_grid
from xfer.types import FeatureSpec


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("timm:test_resnet", {}, ANY),
        ("timm:test_vit", {}, ANY),
        ("timm:test_maxvit", {}, Sizes(multiple=160)),  # windows are a share of its own size
        ("timm:test_coatnet", {}, Sizes(fixed=160)),
        ("timm:mixer_s16_224", {}, Sizes(fixed=224)),
        ("alexnet", {}, ANY),
    ],
)
def test_what_a_net_takes_is_found_and_every_size_reaches_its_maps(
    name: str, options: dict[str, Any], sizes: Sizes
) -> None:
    net = xfer.create_backbone(name, **options).eval()
    assert net.sizes == sizes
    with torch.no_grad():
        maps = net(torch.randn(2, 3, 200, 330), want=net.map_names)
    for map_name, x in maps.items():
        stride = net.specs[map_name].stride
        assert torch.isfinite(x).all()
        for cells, side in zip(x.shape[2:], (200, 330), strict=True):
            assert abs(cells - side / stride) <= 2, (map_name, x.shape)


@pytest.mark.parametrize("model", ["test_vit", "swin_tiny_patch4_window7_224", "test_coatnet"])
def test_at_its_own_size_a_net_is_timms(model: str) -> None:
    ours = xfer.create_backbone(f"timm:{model}", classifier=True).eval()
    theirs: Any = timm.create_model(model, pretrained=False).eval()
    theirs.load_state_dict(ours.net.state_dict())  # type: ignore[union-attr]
    images = torch.randn(2, 3, *[ours.preprocess.size] * 2)
    with torch.no_grad():
        assert torch.allclose(ours.logits(images), theirs(images), atol=1e-5)


def test_positions_are_interpolated_as_timm_does() -> None:
    ours = xfer.create_backbone("timm:test_vit").eval()
    theirs: Any = timm.create_model("test_vit", pretrained=False).eval()
    theirs.load_state_dict(ours.net.state_dict(), strict=False)  # type: ignore[union-attr]
    theirs.set_input_size(img_size=(96, 224))
    images = torch.randn(1, 3, 96, 224)
    with torch.no_grad():
        expected = theirs.forward_intermediates(images, intermediates_only=True)[-1]
        found = ours(images)[ours.last]
    assert found.shape == expected.shape == (1, expected.shape[1], 6, 14)
    assert torch.allclose(found, expected, atol=1e-5)


def test_padding_to_a_multiple_leaves_the_grid_of_the_picture() -> None:
    shown, filled = Sizes(multiple=32).fit(torch.ones(1, 3, 50, 64))
    assert shown.shape == (1, 3, 64, 64) and filled == (50, 64)
    assert shown[:, :, :50].min() == 1 and shown[:, :, 50:].abs().max() == 0
    spec = FeatureSpec("map", 1, 16, 16, 7.5)
    assert on_own_grid(torch.zeros(1, 1, 4, 4), spec, (50, 64), filled).shape == (1, 1, 4, 4)
    assert on_own_grid(torch.zeros(1, 1, 4, 4), spec, (40, 64), (40, 64)).shape == (1, 1, 3, 4)


def test_maps_of_a_scaled_picture_lie_where_its_pixels_do() -> None:
    """A map that holds where its cells look still does so on the grid of the larger picture."""
    spec = FeatureSpec("map", 1, 16, 16, 7.5)
    given = (300, 400)
    shown, filled = Sizes(fixed=224).fit(torch.ones(1, 3, *given))
    assert shown.shape == (1, 3, 224, 224) and filled == (168, 224)
    # of each shown cell, the column of the given picture that it looks at
    looked_at = (torch.arange(14) * 16 + 7.5 + 0.5) * (400 / 224) - 0.5
    maps = looked_at.expand(1, 1, 14, 14)
    found = on_own_grid(maps, spec, given, filled)
    assert found.shape == (1, 1, 19, 25)
    own = torch.arange(25) * 16 + 7.5
    inside = (own >= looked_at[0]) & (own <= looked_at[-1])
    assert inside.sum() > 20
    assert torch.allclose(found[0, 0, 5][inside], own[inside], atol=1e-3)


def test_a_net_of_one_size_that_can_be_made_anew_is_made_for_the_asked_one() -> None:
    net = xfer.create_backbone("timm:test_coatnet").eval()
    net.adapt(200)  # the deepest stride is 32
    assert net.preprocess.size == net.fixed_side == 224
    again = xfer.create_backbone("timm:test_coatnet").eval()
    again.adapt(224)  # what a model file says of it
    again.load_state_dict(net.state_dict())
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(net(images)[net.last], again(images)[net.last])
    mixer = xfer.create_backbone("timm:mixer_s16_224")
    mixer.adapt(288)
    assert mixer.preprocess.size == mixer.fixed_side == mixer.side_for(288) == 224


def test_a_gradient_reaches_a_net_through_pictures_that_were_scaled_for_it() -> None:
    net = xfer.create_backbone("timm:mixer_s16_224")
    net(torch.randn(1, 3, 256, 320))[net.last].square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.net.stem.parameters())  # type: ignore[union-attr]
