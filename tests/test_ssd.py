"""SSD: default boxes, assignments and losses as torchvision's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_one_stage import SPECS, truths
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, SSDMatcher
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD as TorchvisionSSD
from torchvision.ops import box_iou

from xfer.detectors.contract import Truth
from xfer.detectors.options import DetectorOptions
from xfer.detectors.ssd import SSD, claimed, halved, halving, level_scales

OPTIONS = DetectorOptions(detector="ssd", width=16, max_stride=32)


def made(seed: int = 0, **values: Any) -> tuple[SSD, dict[str, Tensor]]:
    """A detector, and maps for two pictures of 128 x 160 pixels."""
    torch.manual_seed(seed)
    detector = SSD(SPECS, replace(OPTIONS, **values), 3, 128)
    return detector, {"a": torch.randn(2, 4, 16, 20), "b": torch.randn(2, 4, 8, 10)}


def test_default_boxes_are_torchvisions() -> None:
    published = [0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05]  # the paper's code, in whole percents
    scales = level_scales(6, 0.2, 0.9)
    assert scales == pytest.approx(published, abs=0.03)
    assert level_scales(1, 0.2, 0.9) == [0.1, 0.2]
    ratios = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
    theirs = DefaultBoxGenerator(ratios, scales=scales, clip=False)._wh_pairs  # pyright: ignore
    detector = SSD(SPECS, replace(OPTIONS, max_stride=256), 3, 100)
    assert [spec.stride for spec in detector.specs] == [8, 16, 32, 64, 128, 256]
    ours = detector.sides.split(detector.counts)
    for own, their in zip(ours, theirs, strict=True):
        assert torch.allclose(own, their * 100, atol=1e-4)


@given(truths(), st.floats(0.3, 0.7))
@settings(max_examples=60, deadline=None)
def test_default_boxes_are_assigned_as_torchvision_does(truth: Tensor, least: float) -> None:
    if not len(truth):
        return
    detector, maps = made()
    starts = detector.read(maps).starts
    ours = claimed(starts, truth, torch.ones(len(starts), dtype=torch.bool), least)
    overlap = box_iou(truth, starts)
    theirs = SSDMatcher(least)(overlap).clamp(min=-1)
    differ = torch.nonzero(ours != theirs).flatten().tolist()
    best = overlap.max(1)
    for n in differ:  # torchvision lets an object that nothing touches claim the first box
        untouched = n == 0 and (best.values == 0).any()
        # and IoUs of two formulas may differ in their last bit
        close = (overlap[:, n] - least).abs().min() < 1e-6
        tied = [k for k in range(len(truth)) if best.values[k] - overlap[k, n] < 1e-6]
        assert untouched or close or tied


@given(truths(), truths(), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_losses_are_torchvisions(one: Tensor, two: Tensor, seed: int) -> None:
    boxes = [b[:4].clamp(max=128) for b in (one, two)]
    boxes = [b[((b[:, 2:] - b[:, :2]) > 4).all(1)] for b in boxes]
    if not len(boxes[0]) or not len(boxes[1]):
        return
    detector, maps = made(seed)
    cells = detector.read(maps)
    labels = [torch.arange(len(b)) % 3 for b in boxes]
    everything = torch.ones(len(cells.starts), dtype=torch.bool)
    sums = {"cls": 0.0, "box": 0.0}
    for n in range(2):
        index = claimed(cells.starts, boxes[n], everything, 0.5)
        # theirs has background first
        logits = cells.logits[n : n + 1].roll(1, 2)
        shell: Any = type(
            "Shell", (), {"box_coder": BoxCoder((10, 10, 5, 5)), "neg_to_pos_ratio": 3.0}
        )()
        theirs = TorchvisionSSD.compute_loss(
            shell, [{"boxes": boxes[n], "labels": labels[n] + 1}],
            {"bbox_regression": cells.numbers[n : n + 1], "cls_logits": logits},
            [cells.starts], [index],
        )  # fmt: skip
        sums["cls"] += theirs["classification"].item() / 2
        sums["box"] += theirs["bbox_regression"].item() / 2
    size = torch.tensor([[10**4, 10**4]] * 2)  # no padding: torchvision knows of none
    ours = detector.losses(maps, Truth(size, boxes, labels, [torch.zeros(0, 4)] * 2))
    for name, value in ours.items():
        assert value.item() == pytest.approx(sums[name], rel=1e-4, abs=1e-5)


def test_every_object_has_a_default_box_inside_the_picture() -> None:
    detector, maps = made()
    starts = detector.read(maps).starts
    seen = ((starts[:, :2] + starts[:, 2:]) / 2 < 64).all(1)
    tiny = torch.tensor([[60.0, 60.0, 66.0, 66.0], [1.0, 1.0, 3.0, 90.0]])
    index = claimed(starts, tiny, seen, 0.5)
    assert set(index[seen].tolist()) == {-1, 0, 1} and (index[~seen] == -1).all()


def test_a_picture_without_objects_learns_its_hardest_background() -> None:
    detector, maps = made()
    none = [torch.zeros(0, 4)] * 2
    labels = [torch.zeros(0, dtype=torch.int64)] * 2
    losses = detector.losses(maps, Truth(torch.tensor([[128, 160]] * 2), none, labels, none))
    background = -detector.read(maps).logits.log_softmax(-1)[..., -1]
    assert losses["box"] == 0
    assert losses["cls"].item() == pytest.approx(background.topk(3).values.sum().item() / 2)


@pytest.mark.parametrize("cells", [1, 2, 5, 8])
def test_further_levels_lie_where_their_geometry_says(cells: int) -> None:
    layers, spec = halving(1, 2), halved(SPECS[1], 2)
    for parameter in layers.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    map = torch.rand(1, 1, cells, cells, requires_grad=True)
    found = layers(map)
    assert found.shape[2] == (cells + 1) // 2
    assert (spec.stride, spec.offset) == (32, 7.5)
    found[0, 0, 0, 0].backward()
    assert map.grad is not None
    seen = torch.nonzero(map.grad[0, 0, 0]).flatten().tolist()
    # four cells around the middle of the first two, of which one lies outside
    assert seen == list(range(min(3, cells)))
