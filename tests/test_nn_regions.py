"""Pooling of regions, merged maps and the proposal network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import ops as tv

from xfer.backbones.alexnet import caffenet
from xfer.detectors.box_head import BoxOutputs, box_losses
from xfer.detectors.rpn import RegionProposalNet, RPNRules
from xfer.nn.merge import MergedMap, resample
from xfer.nn.roi_pool import _sorting, roi_align, roi_max_pool  # pyright: ignore[reportPrivateUsage]
from xfer.nn.views import View
from xfer.ops.sampling import equal_shares
from xfer.types import FeatureSpec

SPEC = FeatureSpec("conv5", 4, 16, 163, 15.0)
# Fast R-CNN's S: conv1 padded by 5, the pools by 1
CAFFE = FeatureSpec("conv5", 4, 16, 163, 0.0)


def regions(seed: int, count: int, size: tuple[int, int]) -> Tensor:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, [size[1], size[0]], (count, 2))
    return torch.tensor(
        np.concatenate([corner, corner + rng.uniform(1, 150, (count, 2))], 1)
    ).float()


def caffe_roi_pool(channel: np.ndarray, roi: np.ndarray, size: int, scale: float) -> np.ndarray:
    """roi_pooling_layer.cpp, a channel and region at a time: boxes include their last pixel."""
    height, width = channel.shape
    x1, y1, x2, y2 = (math.floor(v * scale + 0.5) for v in roi)
    h, w = max(y2 - y1 + 1, 1) / size, max(x2 - x1 + 1, 1) / size
    out = np.zeros((size, size), channel.dtype)
    for i in range(size):
        for j in range(size):
            top, bottom = math.floor(i * h) + y1, math.ceil((i + 1) * h) + y1
            left, right = math.floor(j * w) + x1, math.ceil((j + 1) * w) + x1
            part = channel[
                min(max(top, 0), height) : min(max(bottom, 0), height),
                min(max(left, 0), width) : min(max(right, 0), width),
            ]
            out[i, j] = part.max() if part.size else 0
    return out


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 7))
def test_max_pooling_is_caffes(seed: int, size: int) -> None:
    torch.manual_seed(seed)
    maps = torch.randn(1, 2, 11, 13)
    # away from halves, where rounding of floats decides
    boxes = regions(seed, 4, (176, 208)).floor() + 0.3
    pooled = roi_max_pool(maps, [boxes], CAFFE, size)
    for r, box in enumerate(boxes.numpy()):
        inclusive = box - np.array([0, 0, 1, 1])
        for c in range(2):
            expected = caffe_roi_pool(maps[0, c].numpy(), inclusive, size, 1 / 16)
            np.testing.assert_array_equal(pooled[r, c].numpy(), expected)


def test_max_pooling_of_bf16_keeps_the_maps_values() -> None:
    maps = torch.randn(2, 4, 9, 9).bfloat16()
    boxes = [regions(0, 3, (140, 140)), regions(1, 2, (140, 140))]
    pooled = roi_max_pool(maps, boxes, SPEC, 3)
    assert pooled.dtype == torch.bfloat16
    assert torch.equal(pooled, roi_max_pool(maps.float(), boxes, SPEC, 3).bfloat16())


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from([3.0, 15.0, 0.0]))
def test_bilinear_pooling_equals_torchvisions(seed: int, size: int, offset: float) -> None:
    spec = FeatureSpec("x", 3, 8, 1, offset)
    torch.manual_seed(seed)
    maps = torch.randn(2, 3, 10, 12, requires_grad=True)
    boxes = [regions(seed, 5, (80, 96)), regions(seed + 1, 3, (80, 96))]
    # torchvision takes cell i to be centred on pixel (i + 1/2) * stride - 1/2
    moved = [b - offset - 0.5 + spec.stride / 2 for b in boxes]
    expected = tv.roi_align(maps, moved, size, 1 / spec.stride, 2, True)
    ours = roi_align(maps, boxes, spec, size)
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-4)
    weight = torch.randn_like(expected)
    (one,) = torch.autograd.grad((ours * weight).sum(), maps)
    (two,) = torch.autograd.grad((expected * weight).sum(), maps)
    torch.testing.assert_close(one, two, atol=5e-4, rtol=1e-3)


@pytest.mark.parametrize("limit", [1, 9, 65536, 65537, 300_000])
def test_cells_are_sorted_stably_however_many_there_are(limit: int) -> None:
    values = np.random.default_rng(limit).integers(0, limit, 5000).astype(np.int32)
    values[:2] = limit - 1
    assert np.array_equal(_sorting(values, limit), np.argsort(values, kind="stable"))


def test_a_picture_without_regions_pools_nothing() -> None:
    maps = torch.randn(2, 4, 9, 9)
    none = torch.zeros(0, 4)
    for pool in (roi_max_pool, roi_align):
        assert pool(maps, [none, none], SPEC, 3).shape == (0, 4, 3, 3)
        assert len(pool(maps, [none, regions(0, 2, (99, 99))], SPEC, 3)) == 2


def test_pooling_sees_what_lies_under_the_box() -> None:
    """A bright square in the picture is bright in its own region, whatever the paddings."""
    for options in ({}, {"conv1_padding": 5, "pool_padding": 1}):
        net = caffenet(**options).eval()
        spec = net.specs["conv5"]
        rows = torch.arange(20) * spec.stride + spec.offset
        ramp = rows.view(1, 1, -1, 1).expand(1, 1, 20, 20)
        box = torch.tensor([[80.0, 112, 144, 208]])
        middle = roi_align(ramp, [box], spec, 1).item()
        assert middle == pytest.approx((112 + 208) / 2 - 0.5), options


def test_resampling_follows_the_cells_places() -> None:
    fine, coarse = FeatureSpec("conv2", 1, 8, 51, 7.0), FeatureSpec("conv5", 1, 16, 163, 15.0)
    places = torch.arange(6.0) * 16 + 15
    maps = places.view(1, 1, 6, 1).expand(1, 1, 6, 5)
    moved = resample(maps, coarse, fine, (11, 9))
    wanted = (torch.arange(11.0) * 8 + 7).clamp(15, 95)
    assert moved.shape == (1, 1, 11, 9)
    torch.testing.assert_close(moved[0, 0], wanted[:, None].expand(11, 9))


def test_merged_maps_have_the_finest_grid() -> None:
    fine, coarse = FeatureSpec("conv2", 3, 8, 51, 7.0), FeatureSpec("conv5", 5, 16, 163, 15.0)
    merged = MergedMap((fine, coarse), 6)
    out = merged({"conv2": torch.randn(2, 3, 11, 9), "conv5": torch.randn(2, 5, 6, 5)})
    assert out.shape == (2, 6, 11, 9)
    spec = merged.spec
    assert (spec.stride, spec.offset, spec.channels, spec.receptive_field) == (8, 7.0, 6, 163)


def proposal_net(step: int = 1) -> RegionProposalNet:
    torch.manual_seed(0)
    sizes = torch.tensor([[16.0, 16.0], [40.0, 40.0]])
    return RegionProposalNet(SPEC, 8, sizes, RPNRules(batch=32), step)


@pytest.mark.parametrize("step", [1, 2])
def test_the_proposal_net_has_an_anchor_a_prediction(step: int) -> None:
    net = proposal_net(step)
    said = net(torch.randn(2, 4, 6, 9))
    cells = math.ceil(6 / step) * math.ceil(9 / step)
    assert said.logits.shape == (2, 2 * cells)
    assert said.offsets.shape == (2, 2 * cells, 4) and said.anchors.shape == (2 * cells, 4)
    second = said.anchors.view(-1, 2, 4)[1, 0]
    assert ((second[0] + second[2]) / 2).item() == 15.5 + 16 * step


def test_proposals_are_inside_their_own_picture_and_few() -> None:
    net = proposal_net()
    said = net(torch.randn(2, 4, 8, 8) * 30)
    sizes = torch.tensor([[128, 128], [64, 100]])
    found = net.propose(said, sizes, 50, 10).boxes
    assert [len(f) for f in found] == [10, 10]
    assert (found[1] <= torch.tensor([100, 64, 100, 64])).all() and (found[1] >= 0).all()
    assert not any(f.requires_grad for f in found)


def test_the_proposal_net_learns_where_objects_are() -> None:
    net = proposal_net()
    maps = torch.randn(1, 4, 8, 8)
    truth = [torch.tensor([[30.0, 40, 70, 80], [90, 10, 106, 26]])]
    sizes, none = torch.tensor([[128, 128]]), [torch.zeros(0, 4)]
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    first = last = 0.0
    for step in range(120):
        losses = net.losses(net(maps), sizes, truth, none)
        total = losses["rpn_score"] + losses["rpn_box"]
        first, last = (total.item(), last) if step == 0 else (first, total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert last < first / 10
    best = net.propose(net(maps), sizes, 100, 6).boxes[0]
    assert tv.box_iou(truth[0], best).max(1).values.min() > 0.7


def test_a_picture_without_boxes_trains_the_proposal_net() -> None:
    net = proposal_net()
    losses = net.losses(net(torch.randn(1, 4, 8, 8)), torch.tensor([[128, 128]]),
                        [torch.zeros(0, 4)], [torch.zeros(0, 4)])  # fmt: skip
    assert losses["rpn_box"].item() == 0 and losses["rpn_score"].item() > 0
    sum(losses.values(), torch.zeros(())).backward()


def test_a_box_at_the_border_has_an_anchor_whatever_the_padding() -> None:
    """The nearest anchor is in the padding: the best of the picture's own is taken instead."""
    net = proposal_net()
    anchors = net(torch.zeros(1, 4, 8, 8)).anchors
    box = torch.tensor([[67.0, 20, 78, 44]])
    overlap = tv.box_iou(box, anchors)[0]
    x = (anchors[:, 0] + anchors[:, 2]) / 2
    width = 78
    assert x[overlap.argmax()] > width > x[overlap.where(x < width, 0.0).argmax()]
    assert overlap.max() < net.rules.high
    losses = net.losses(net(torch.zeros(1, 4, 8, 8)), torch.tensor([[128, width]]),
                        [box], [torch.zeros(0, 4)])  # fmt: skip
    assert losses["rpn_box"].item() > 0


def test_losses_of_boxes_count_the_foregrounds_own_class() -> None:
    logits = torch.zeros(3, 3)
    offsets = torch.zeros(3, 2, 4)
    offsets[1, 1] = 1.0
    labels, goals = torch.tensor([2, 1, 0]), torch.zeros(3, 4)
    losses = box_losses(
        logits, offsets, labels, goals, 1.0, equal_shares([len(labels)], logits.device)
    )
    assert losses["cls"].item() == pytest.approx(math.log(3))
    assert losses["box"].item() == pytest.approx(4 * 0.5 / 3)


def test_outputs_are_exact_in_a_pass_of_bf16() -> None:
    outputs = BoxOutputs(16, 2, False)
    with torch.autocast("cpu", torch.bfloat16):
        logits, offsets = outputs(torch.randn(5, 16).bfloat16())
    assert logits.dtype == offsets.dtype == torch.float32
    assert logits.shape == (5, 3) and offsets.shape == (5, 2, 4)


def test_boxes_come_back_from_every_view() -> None:
    images, sizes = torch.rand(2, 3, 64, 96), torch.tensor([[64, 96], [50, 70]])
    boxes = torch.tensor([[5.0, 6, 20, 30]])
    base = View(images, sizes)
    for view in (base, base.mirrored(), base.scaled(0.5), base.scaled(1.5).mirrored()):
        torch.testing.assert_close(view.back(1, view.to(1, boxes)), boxes)
    mirrored = base.mirrored()
    torch.testing.assert_close(mirrored.images[1, :, :, :70], images[1, :, :, :70].flip(-1))
    assert mirrored.to(1, boxes).tolist() == [[50.0, 6, 65, 30]]
