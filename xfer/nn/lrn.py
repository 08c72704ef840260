"""Local response normalisation, across channels and within a map, quick enough to train with.

Across channels (Krizhevsky 2012, sec. 3.3) the sum over n neighbouring channels is a product with
a banded C x C matrix of ones: a 1x1 convolution, which the matrix units of a CPU or GPU run at
full speed and in bf16, where torch's own average pooling over channels is slow or fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from xfer.nn.precision import exact

# A slice of the batch whose temporaries stay in the second-level cache of a core, in bytes.
_CACHE_BYTES = 1 << 19


def band_matrix(channels: int, size: int, groups: int = 1) -> Tensor:
    """Ones where two channels of the same group are at most `size // 2` apart, (C, C) float32."""
    index = torch.arange(channels)
    near = (index[:, None] - index[None, :]).abs() <= size // 2
    tower = index // (channels // groups)
    return (near & (tower[:, None] == tower[None, :])).float()


def _inverse_power(s: Tensor, beta: float) -> Tensor:
    """`s ** -beta`; for 3/4, as in every published net, by square roots, which vectorise."""
    if beta == 0.75:
        root = s.rsqrt()
        return root.sqrt().mul_(root)
    return s.pow(-beta)


def _slices(x: Tensor) -> list[slice]:
    """Slices of the batch that keep temporaries in cache on a CPU; elsewhere the whole batch."""
    images = x.shape[0]
    if x.device.type != "cpu" or torch.compiler.is_exporting() or images < 2:
        return [slice(None)]
    bytes_an_image = x[0].numel() * x.element_size()
    step = max(1, _CACHE_BYTES * torch.get_num_threads() // max(1, bytes_an_image))
    return [slice(start, start + step) for start in range(0, images, step)]


def _forward(x: Tensor, band: Tensor, a: float, beta: float, k: float) -> tuple[Tensor, ...]:
    """y, s and s ** -beta for a batch."""
    scaled = x * a**0.5  # before the square: fp16 would overflow at 256
    s = F.conv2d(scaled * scaled, band).add_(k)
    f = _inverse_power(s, beta)
    return x * f, s, f


def _backward(tensors: tuple[Tensor, ...], band: Tensor, scale: float) -> tuple[Tensor]:
    """The input's gradient from g and the tensors saved by forward: x, y, s and s ** -beta."""
    g, x, y, s, f = tensors
    spread = F.conv2d((g * y).div_(s), band).mul_(x)
    return ((g * f).sub_(spread, alpha=scale),)


def _by_slices(run: Callable[..., tuple[Tensor, ...]], *batches: Tensor) -> tuple[Tensor, ...]:
    """`run` on slices of the batches, results joined; faster when temporaries fit a cache."""
    parts = _slices(batches[0])
    if len(parts) == 1:
        return run(*batches)
    joined: tuple[Tensor, ...] = ()
    for part in parts:
        results = run(*(batch[part] for batch in batches))
        joined = joined or tuple(torch.empty_like(batches[0]) for _ in results)
        for whole, result in zip(joined, results, strict=True):
            whole[part] = result
    return joined


class _AcrossChannels(torch.autograd.Function):
    """y = x * s ** -beta with s = k + a * band(x ** 2).

    Backward: dx = g * s ** -beta - 2 a beta x * band(g * y / s), the band being symmetric.
    Written by hand because autograd's element-wise steps read memory three times as often.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, band: Tensor, a: float, beta: float, k: float) -> Tensor:
        with exact(x):
            y, s, f = _by_slices(lambda x: _forward(x, band, a, beta, k), x)
        ctx.save_for_backward(x, y, s, f, band)
        ctx.scale = 2 * a * beta
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        *saved, band = ctx.saved_tensors
        with exact(g):
            (dx,) = _by_slices(lambda *t: _backward(t, band, ctx.scale), g, *saved)
        return dx, None, None, None, None


class LocalResponseNorm(nn.Module):
    """y_i = x_i / (k + alpha / n * sum of x_j ** 2 over the n channels around i) ** beta.

    Caffe, torch and the code of the 2012 paper divide alpha by n; the formula printed in the paper
    does not, so as printed it is alpha = n * 1e-4 here.

    Args:
        channels: C of the input.
        size: n, odd, in channels.
        alpha, beta, k: the constants; alpha before the division by n.
        groups: towers; a sum does not reach from one into the next.

    Shapes: input and output (N, C, H, W), floating, any memory format; differentiable once.
    Source: Krizhevsky et al. 2012, sec. 3.3: k=2, n=5, alpha=1e-4, beta=0.75.
    """

    def __init__(
        self,
        channels: int,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        groups: int = 1,
    ) -> None:
        super().__init__()
        if size % 2 == 0 or channels % groups:
            raise ValueError(f"size {size} must be odd, channels {channels} a multiple of {groups}")
        self.channels, self.size, self.groups = channels, size, groups
        self.alpha, self.beta, self.k = alpha, beta, k
        self._bands: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def _band(self, x: Tensor) -> Tensor:
        """The matrix as a 1x1 kernel in the input's dtype; 0 and 1 are exact in all of them."""
        key = (x.dtype, x.device)
        if key not in self._bands:
            # kept for training as well, which can't save a tensor that inference mode has made
            with torch.inference_mode(False):
                matrix = band_matrix(self.channels, self.size, self.groups)
                self._bands[key] = matrix.to(x.device, x.dtype)[:, :, None, None]
        return self._bands[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bands": {}}  # copies and pickles build their own

    def forward(self, x: Tensor) -> Tensor:
        y = _AcrossChannels.apply(x, self._band(x), self.alpha / self.size, self.beta, self.k)
        assert isinstance(y, Tensor)
        return y

    def extra_repr(self) -> str:
        towers = f", groups={self.groups}" if self.groups > 1 else ""
        constants = f"alpha={self.alpha}, beta={self.beta}, k={self.k}"
        return f"{self.channels}, {self.size}, {constants}{towers}"


class SpatialResponseNorm(nn.Module):
    """y = x / (k + alpha * mean of x ** 2 over a size x size window of the same map) ** beta.

    Zeros beyond the border count in the mean, as in Caffe's WITHIN_CHANNEL.

    Args:
        size: side of the window in cells, odd.
        alpha, beta, k: the constants; alpha multiplies the mean over size x size cells.

    Shapes: input and output (N, C, H, W), floating.
    Source: the ZF-5 net of SPPnet and Faster R-CNN (size 3, alpha 5e-5, beta .75, k 1).
    """

    def __init__(
        self, size: int = 3, alpha: float = 5e-5, beta: float = 0.75, k: float = 1.0
    ) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"size {size} must be odd")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * self.alpha**0.5
        mean = F.avg_pool2d(scaled * scaled, self.size, 1, self.size // 2, count_include_pad=True)
        s = mean + self.k
        if self.beta == 0.75:
            root = s.rsqrt()
            return x * (root * root.sqrt())
        return x * s.pow(-self.beta)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
