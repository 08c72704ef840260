"""Upsampling equals the transposed convolution, and crops fall out of the geometry."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xfer.backbones.build import create_backbone
from xfer.errors import XferError
from xfer.nn.fcn import FCNHead, after_kernel, padding_for
from xfer.nn.sliding_window import places_of, windows
from xfer.nn.upsample import PIXELS, at_pixels, bilinear_kernel, crop_between, transposed_bilinear
from xfer.types import FeatureSpec


def dense(channels: int, stride: int, kernel: int) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(channels, channels, kernel, stride, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for c in range(channels):
            layer.weight[c, c] = bilinear_kernel(kernel)
    return layer.requires_grad_(False)


@given(
    stride=st.integers(1, 33), odd=st.integers(0, 1), height=st.integers(1, 7),
    width=st.integers(1, 7), seed=st.integers(0, 100),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_upsampling_is_the_transposed_convolution_forward_and_backward(
    stride: int, odd: int, height: int, width: int, seed: int
) -> None:
    kernel = 2 * stride - odd if stride > 1 else 1
    made = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 3, height, width, generator=made).requires_grad_()
    expected = dense(3, stride, kernel)(maps)
    gradient = torch.randn(expected.shape, generator=made) / stride**2
    (back,) = torch.autograd.grad(expected, maps, gradient)
    found = transposed_bilinear(maps, stride, kernel)
    (ours,) = torch.autograd.grad(found, maps, gradient)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5
    assert (ours - back).abs().max() < 1e-5


def test_a_kernel_of_another_size_than_two_strides_is_the_transposed_convolution_too() -> None:
    maps = torch.randn(1, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    for stride, kernel in ((3, 7), (4, 4), (2, 9)):
        difference = transposed_bilinear(maps, stride, kernel) - dense(2, stride, kernel)(maps)
        assert difference.abs().max() < 1e-5


def test_upsampling_by_nothing_is_refused() -> None:
    with pytest.raises(XferError, match="stride 0"):
        transposed_bilinear(torch.zeros(1, 1, 2, 2), 0, 4)


def test_scores_stay_exact_under_autocast() -> None:
    maps = torch.rand(1, 2, 5, 5) + 300
    with torch.autocast("cpu", torch.bfloat16):
        found = at_pixels(maps, FeatureSpec("m", 2, 8, 8, 3.5), 40, 40)
    assert found.dtype == torch.float32
    assert torch.equal(found, at_pixels(maps, FeatureSpec("m", 2, 8, 8, 3.5), 40, 40))


@given(offset=st.integers(-20, 20), stride=st.sampled_from((2, 4, 8)))
@settings(max_examples=20, deadline=None)
def test_a_ramp_is_read_at_its_place(offset: int, stride: int) -> None:
    # a map that says where its cells look reads as the pixel's own place, inside of the outermost
    cells = 12
    spec = FeatureSpec("ramp", 1, stride, 1, offset / 2)
    line = torch.arange(cells) * stride + spec.offset
    found = at_pixels(line.expand(1, 1, cells, cells), spec, 30, 30)[0, 0]
    place = torch.arange(30.0).clamp(float(line[0]), float(line[-1]))
    assert torch.allclose(found, place.expand(30, 30), atol=1e-4)


# the offsets of the Crop layers in shelhamer/fcn.berkeleyvision.org: voc-fcn-alexnet, voc-fcn32s,
# voc-fcn16s, voc-fcn8s; negative: the upsampled scores are cut
@pytest.mark.parametrize("name", ["alexnet_2012", "bvlc_alexnet", "caffenet"])
def test_the_crop_of_fcn_alexnet_is_18(name: str) -> None:
    pool5 = create_backbone(name, conv1_padding=100).specs["pool5"]
    padding = padding_for(pool5, 6)
    assert padding == 0, "padding conv1 by 100 leaves nothing to pad"
    fc7 = after_kernel(pool5, 6, padding, 4096)
    assert crop_between(fc7, PIXELS, 63) == -18


def test_the_crops_of_fcn_vgg16_are_the_published_ones() -> None:
    specs = create_backbone("vgg16", conv1_padding=100).specs
    fc7 = after_kernel(specs["pool5"], 7, padding_for(specs["pool5"], 7), 4096)
    assert crop_between(fc7, PIXELS, 64) == -19  # 32s
    assert crop_between(fc7, specs["pool4"], 4) == 5  # 16s and 8s
    pool4 = cut(fc7, specs["pool4"])
    assert crop_between(pool4, PIXELS, 32) == -27  # 16s
    assert crop_between(pool4, specs["pool3"], 4) == 9  # 8s
    assert crop_between(cut(pool4, specs["pool3"]), PIXELS, 16) == -31  # 8s


def cut(coarse: FeatureSpec, fine: FeatureSpec) -> FeatureSpec:
    """The grid on which Caffe's FCN adds two maps: the coarse one's, upsampled by two."""
    first = fine.offset + crop_between(coarse, fine, 4) * fine.stride
    return FeatureSpec("sum", fine.channels, fine.stride, 1, first)


@pytest.mark.parametrize(("name", "layer", "kernel"), [
    ("alexnet", "pool5", 6), ("alexnet_2012", "pool5", 6), ("vgg11", "pool5", 7),
])  # fmt: skip
def test_without_padded_pictures_the_map_is_padded_until_its_corner_is_seen(
    name: str, layer: str, kernel: int
) -> None:
    spec = create_backbone(name).specs[layer]
    padding = padding_for(spec, kernel)
    assert 3 <= padding <= 4
    assert abs(after_kernel(spec, kernel, padding, 1).offset) <= spec.stride / 2


def test_fcn_adds_the_coarse_scores_where_the_fine_cells_look() -> None:
    coarse, fine = FeatureSpec("c", 2, 8, 8, 3.5), FeatureSpec("f", 3, 4, 4, 1.5)
    head = FCNHead([coarse, fine], 2, (0.5,))
    with torch.no_grad():
        for layer in head.score:
            layer.weight.normal_()  # pyright: ignore[reportCallIssue]
    maps = {"c": torch.randn(1, 2, 4, 4), "f": torch.randn(1, 3, 8, 8)}
    first, second = head.score
    found = head(maps)
    # cell 1 of the fine map looks at 5.5: a quarter of the way from cell 0 (3.5) to cell 1 (11.5)
    row = first(maps["c"])[0, :, 0]
    alone = second(maps["f"] * 0.5)[0, :, 0, 1]
    assert torch.allclose(found[0, :, 0, 1], 0.75 * row[:, 0] + 0.25 * row[:, 1] + alone, atol=1e-5)


def test_fcn_scores_go_from_coarse_to_fine() -> None:
    specs = [FeatureSpec("a", 2, 8, 8, 0.0), FeatureSpec("b", 2, 16, 8, 0.0)]
    with pytest.raises(XferError, match="coarse to fine"):
        FCNHead(specs, 2, (1.0,))
    with pytest.raises(XferError, match="2 scales"):
        FCNHead(specs[::-1], 2, (1.0, 1.0))


@given(
    side=st.integers(1, 5000), window=st.integers(8, 40).map(lambda n: 32 * n),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_windows_keep_each_pixel_once_and_away_from_their_edges(side: int, window: int) -> None:
    margin = window // 8
    found = windows(side, window, margin, 32)
    assert found[0].keep_start == 0 and found[-1].keep_stop == side
    assert all(a.keep_stop == b.keep_start for a, b in itertools.pairwise(found))
    for w in found:
        assert w.start % 32 == 0 and w.stop - w.start <= window
        assert w.start <= w.keep_start < w.keep_stop <= w.stop
        assert w.start == 0 or w.keep_start - w.start >= margin
        assert w.stop == side or w.stop - w.keep_stop >= margin


def test_places_lie_edge_on_edge() -> None:
    assert places_of(4, 2).tolist() == [-0.25, 0.25, 0.75, 1.25]
    assert places_of(3, 3).tolist() == [0, 1, 2]
