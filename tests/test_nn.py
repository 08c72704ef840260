"""Response normalisation, fully connected layers as convolutions, and initial weights."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import xfer
from xfer.backbones.alexnet import alexnet_2012
from xfer.errors import XferError
from xfer.nn.dropout import dropout
from xfer.nn.fc import conv_to_linear, linear_to_conv
from xfer.nn.init import INITS, initialise
from xfer.nn.lrn import LocalResponseNorm, SpatialResponseNorm
from xfer.nn.normalise import scale_and_shift


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "size, alpha, beta, k", [(5, 1e-4, 0.75, 2.0), (5, 5e-4, 0.75, 1.0), (3, 0.1, 0.5, 1.5)]
)
def test_lrn_and_its_gradient_equal_torch(
    size: int, alpha: float, beta: float, k: float, channels_last: bool
) -> None:
    x = torch.randn(5, 24, 7, 9) * 30
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = LocalResponseNorm(24, size, alpha, beta, k)(ours)
    z = F.local_response_norm(theirs, size, alpha, beta, k)
    weight = torch.randn_like(z)
    y.backward(weight)
    z.backward(weight)
    assert ours.grad is not None and theirs.grad is not None
    assert (y - z).abs().max() <= 1e-5 * z.abs().max()
    assert (ours.grad - theirs.grad).abs().max() <= 1e-5 * theirs.grad.abs().max()
    if channels_last:
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_lrn_gradient_by_finite_differences() -> None:
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LocalResponseNorm(6, 5, 0.5, 0.75, 1.0, groups=2), (x,))


def test_lrn_of_towers_is_lrn_of_each_half() -> None:
    x = torch.randn(3, 16, 4, 4) * 30
    both = LocalResponseNorm(16, k=2.0, alpha=0.1, groups=2)(x)
    one = LocalResponseNorm(8, k=2.0, alpha=0.1)
    assert torch.allclose(both, torch.cat([one(x[:, :8]), one(x[:, 8:])], 1), atol=1e-6)
    assert not torch.allclose(both, LocalResponseNorm(16, k=2.0, alpha=0.1)(x), atol=1e-3)


def test_lrn_in_slices_equals_lrn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(7, 8, 5, 5)
    norm = LocalResponseNorm(8, alpha=0.5)
    results = []
    for cache in (1, 1 << 30):
        monkeypatch.setattr("xfer.nn.lrn._CACHE_BYTES", cache)
        leaf = x.clone().requires_grad_()
        y = norm(leaf)
        y.square().sum().backward()
        assert leaf.grad is not None
        results.append((y.detach(), leaf.grad))
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_lrn_trains_in_bf16_and_in_half_without_overflow() -> None:
    x = torch.randn(2, 16, 6, 6) * 300
    norm = LocalResponseNorm(16)
    reference = norm(x)
    for dtype in (torch.bfloat16, torch.float16):
        leaf = x.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = norm(leaf)
        y.float().sum().backward()
        assert y.dtype == dtype and leaf.grad is not None and torch.isfinite(leaf.grad).all()
        assert (y.float() - reference).abs().max() <= 0.02 * reference.abs().max()


def test_lrn_copies_and_pickles_after_use() -> None:
    norm = LocalResponseNorm(8)
    x = torch.randn(1, 8, 2, 2)
    y = norm(x)
    for twin in (copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        assert torch.equal(twin(x), y)
    assert norm.state_dict() == {}


def test_spatial_norm_by_its_formula() -> None:
    x = torch.randn(1, 2, 4, 5)
    y = SpatialResponseNorm(3, 0.5, 0.75, 1.0)(x)
    padded = F.pad(x, (1, 1, 1, 1))
    for row in range(4):
        for column in range(5):
            window = padded[0, 1, row : row + 3, column : column + 3]
            s = 1.0 + 0.5 / 9 * float((window**2).sum())
            assert float(y[0, 1, row, column]) == pytest.approx(
                float(x[0, 1, row, column]) / s**0.75
            )


def test_even_windows_are_refused() -> None:
    for make in (lambda: LocalResponseNorm(8, 4), lambda: SpatialResponseNorm(2)):
        with pytest.raises(ValueError, match="odd"):
            make()


def test_linear_layers_become_convolutions_and_back() -> None:
    linear = nn.Linear(3 * 4 * 2, 5).eval()
    conv = linear_to_conv(linear, 3, 4, 2)
    x = torch.randn(6, 3, 4, 2)
    assert torch.allclose(conv(x).flatten(1), linear(x.flatten(1)), atol=1e-6)
    assert not conv.training
    assert torch.equal(conv_to_linear(conv).weight, linear.weight)
    with pytest.raises(XferError, match="24 inputs"):
        linear_to_conv(linear, 3, 3, 3)
    with pytest.raises(XferError, match="padding"):
        conv_to_linear(nn.Conv2d(2, 2, 3, padding=1))


@pytest.mark.parametrize(
    "init, conv2_bias, fc6_bias, conv3_std, fc6_std",
    [
        ("paper", 1.0, 1.0, 0.01, 0.01),
        ("code", 1.0, 1.0, 0.03, 0.01),
        ("bvlc", 0.1, 0.1, 0.01, 0.005),
        ("caffenet", 1.0, 1.0, 0.01, 0.005),
        ("modern", 0.0, 0.0, (2 / (256 * 9)) ** 0.5, (2 / 9216) ** 0.5),
    ],
)
def test_inits_draw_what_their_sources_say(
    init: str, conv2_bias: float, fc6_bias: float, conv3_std: float, fc6_std: float
) -> None:
    net = alexnet_2012(init=init, classifier=True)
    state = net.state_dict()
    assert (state["trunk.conv2.bias"] == conv2_bias).all()
    assert (state["trunk.conv1.bias"] == 0).all() and (state["trunk.conv3.bias"] == 0).all()
    assert (state["tail.fc6.bias"] == torch.tensor(fc6_bias)).all()
    assert (state["classifier.bias"] == 0).all()
    assert float(state["trunk.conv3.weight"].std()) == pytest.approx(conv3_std, rel=0.02)
    assert float(state["tail.fc6.weight"].std()) == pytest.approx(fc6_std, rel=0.02)


def test_the_modern_init_keeps_activations_in_range_on_raw_pixels() -> None:
    torch.manual_seed(0)
    net = xfer.create_backbone("caffenet").eval()
    images = net.normalise(torch.randint(0, 256, (2, 3, 227, 227), dtype=torch.uint8))
    with torch.no_grad():
        fc7 = net(images, want="fc7")["fc7"]
    assert 0.05 < float(fc7.std()) < 5


def test_an_unknown_init_names_the_nearest() -> None:
    with pytest.raises(XferError, match="modern"):
        initialise(nn.Linear(1, 1), "modem")
    assert set(INITS) == {"modern", "paper", "code", "bvlc", "caffenet"}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_are_scaled_and_shifted_by_channel(channels_last: bool, dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (3, 3, 190, 210), dtype=torch.uint8)
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
    scale, shift = (0.017, 0.5, 1.0), (-2.1, 3.0, -117.0)
    out = scale_and_shift(images, scale, shift, dtype)
    exact = images.double() * torch.tensor(scale).view(3, 1, 1) + torch.tensor(shift).view(3, 1, 1)
    assert out.dtype == dtype and out.is_contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )
    error = (out.double() - exact).abs()
    assert bool(
        (error <= exact.abs() * (2**-8 if dtype == torch.bfloat16 else 2**-21) + 2e-5).all()
    )


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    x = torch.full((333, 1001), 2.0)
    y = dropout(x, p, True)
    assert abs(float((y == 0).float().mean()) - p) < 0.003
    assert abs(float(y.mean()) - 2.0) < 0.02
    # four elements share a number: they must still be dropped independently of each other
    kept = (y != 0).float().flatten()[: 4 * (y.numel() // 4)].view(-1, 4)
    apart = torch.corrcoef(kept.T) - torch.eye(4)
    assert float(apart.abs().max()) < 0.02


def test_dropout_passes_gradients_through_what_is_kept() -> None:
    torch.manual_seed(0)
    x = torch.ones(64, 64, dtype=torch.bfloat16, requires_grad=True)
    y = dropout(x, 0.5, True)
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_dropout_of_none_all_or_in_eval_is_torchs() -> None:
    x = torch.randn(5, 7)
    assert torch.equal(dropout(x, 0.5, False), x)
    assert torch.equal(dropout(x, 0.0, True), x)
    assert not dropout(x, 1.0, True).any()
