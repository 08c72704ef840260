"""Losses over pixels, dilation that keeps the weights, the decoder's context."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xfer.backbones.build import create_backbone
from xfer.errors import XferError
from xfer.nn.decoder import Decoder
from xfer.nn.dilate import dilate
from xfer.nn.pixel_loss import pixel_cross_entropy, soft_dice
from xfer.types import FeatureSpec


def random_scores(classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(1)
    logits = torch.randn(2, classes, 9, 11, generator=made)
    labels = torch.randint(0, classes, (2, 9, 11), generator=made)
    labels[0, :3] = 255
    return logits, labels


def test_the_loss_is_torchs_mean_with_and_without_weights() -> None:
    logits, labels = random_scores()
    weight = torch.tensor([1.0, 0.5, 3.0, 2.0])
    for w in (None, weight):
        expected = F.cross_entropy(logits, labels, w, ignore_index=255)
        assert torch.allclose(pixel_cross_entropy(logits, labels, w), expected)


def test_summed_is_the_sum_over_pixels_averaged_over_pictures() -> None:
    logits, labels = random_scores()
    expected = F.cross_entropy(logits, labels, ignore_index=255, reduction="sum") / 2
    assert torch.allclose(pixel_cross_entropy(logits, labels, summed=True), expected)


def test_a_batch_without_labels_costs_nothing_and_has_a_gradient_of_zero() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    labels = torch.full((1, 4, 4), 255)
    for hard in (1.0, 0.5):
        for weight in (None, torch.ones(3)):
            loss = pixel_cross_entropy(logits, labels, weight, hard)
            (gradient,) = torch.autograd.grad(loss, logits)
            assert loss == 0 and not gradient.any()
    assert torch.isfinite(soft_dice(logits, labels))


def test_hard_pixels_are_those_of_the_largest_loss() -> None:
    logits, labels = random_scores()
    each = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    worst = each[labels != 255].sort(descending=True).values
    count = len(worst) // 4
    found = pixel_cross_entropy(logits, labels, hard=count / len(worst))
    assert torch.allclose(found, worst[:count].mean())


def test_dice_is_none_where_all_is_right_and_near_one_where_all_is_wrong() -> None:
    labels = torch.tensor([[[0, 1], [1, 255]]])
    sure = 50 * (F.one_hot(labels.clamp(max=1), 2).permute(0, 3, 1, 2).float() - 0.5)
    assert soft_dice(sure, labels) < 1e-6
    assert soft_dice(-sure, labels) > 0.6  # of three pixels; the smoothing by one tells


@pytest.mark.parametrize(("name", "layer"), [("alexnet", "conv5"), ("resnet18", "layer4")])
def test_dilation_keeps_the_weights_maps_agree_where_both_have_cells(name: str, layer: str) -> None:
    torch.manual_seed(0)
    plain = create_backbone(name).eval()
    fine = create_backbone(name).eval()
    fine.load_state_dict(plain.state_dict())
    dilate(fine, lambda images: fine(images, want=(fine.last,)), 224, 8, name)
    images = torch.randn(1, 3, 448, 448)
    with torch.no_grad():
        before, after = plain(images, want=(layer,))[layer], fine(images, want=(layer,))[layer]
    a, b = plain.specs[layer], fine.specs[layer]
    assert (b.stride, b.receptive_field) == (8, a.receptive_field)
    step = a.stride // 8
    shift = round((a.offset - b.offset) / 8)
    assert shift * 8 == a.offset - b.offset
    cells = after[:, :, shift::step, shift::step]
    middle = slice(5, 8)  # away from the paddings
    difference = (cells[..., middle, middle] - before[..., middle, middle]).abs().max()
    assert difference < 1e-4 * before.abs().max()


def test_a_layer_that_cannot_be_dilated_is_named() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3)
    )
    with pytest.raises(XferError, match="AvgPool2d"):
        dilate(net, net, 64, 2)


def test_one_cell_of_one_picture_can_be_trained_on() -> None:
    torch.manual_seed(0)
    specs = [FeatureSpec("deep", 8, 32, 32, 15.5), FeatureSpec("fine", 4, 16, 16, 7.5)]
    net = Decoder(specs, 3, 16, 0.0).train()
    maps = {"deep": torch.randn(1, 8, 1, 1), "fine": torch.randn(1, 4, 2, 2)}
    net(maps).sum().backward()
    assert net.score.weight.grad is not None
    norm = net.near[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.num_batches_tracked is not None
    assert norm.training and not norm.num_batches_tracked  # one cell tells no statistics
    maps = {name: each.repeat(2, 1, 1, 1) for name, each in maps.items()}
    net(maps)
    assert norm.num_batches_tracked == 1


def test_the_decoders_context_does_not_see_the_padding() -> None:
    torch.manual_seed(0)
    specs = [FeatureSpec("deep", 8, 16, 16, 7.5), FeatureSpec("fine", 4, 8, 8, 3.5)]
    net = Decoder(specs, 3, 16, 0.0).eval()
    maps = {"deep": torch.randn(1, 8, 6, 6), "fine": torch.randn(1, 4, 12, 12)}
    mean = maps["deep"].clone()
    maps["deep"][..., 4:] = 50.0  # what lies in the padding
    sizes = torch.tensor([[96, 64]])
    inside = net.context(maps["deep"], torch.ones(1, 6, 6))
    found = net.context(maps["deep"], _mask(6, 4))
    alone = net.context(mean[..., :4], torch.ones(1, 6, 4))
    assert torch.allclose(found, alone, atol=1e-5) and not torch.allclose(found, inside)
    assert net(maps, sizes).shape == (1, 3, 12, 12)


def _mask(side: int, width: int) -> torch.Tensor:
    mask = torch.zeros(1, side, side)
    mask[..., :width] = 1
    return mask
