"""FCN's upsampling by 32, forward and backward: a transposed convolution against two products.

plain  nn.ConvTranspose2d(21, 21, 64, stride 32) without groups, filled with the bilinear kernel, as
       in FCN-32s; its weights need no gradient
ours   xfer.nn.upsample.transposed_bilinear

Scores of 4 pictures of 500 x 375 pixels (16 x 12 cells), 21 classes, float32, with a given gradient
of the result. Both run with the allocator that xfer sets for training. `difference` is the largest
between outputs, and between gradients, relative to the largest value.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import harness

CLASSES, BATCH, STRIDE, KERNEL = 21, 4, 32, 64
GRID = (12, 16)


def steps(variant: str, device: Any) -> Any:
    """A call that upsamples and backpropagates; returns both results."""
    import torch
    from torch import nn

    from xfer.nn.upsample import bilinear_kernel, transposed_bilinear

    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(BATCH, CLASSES, *GRID, generator=generator).to(device).requires_grad_()
    shape = (BATCH, CLASSES, *((n - 1) * STRIDE + KERNEL for n in GRID))
    gradient = torch.randn(shape, generator=generator).to(device)
    dense = nn.ConvTranspose2d(CLASSES, CLASSES, KERNEL, STRIDE, bias=False).requires_grad_(False)
    dense.weight.zero_()
    for c in range(CLASSES):
        dense.weight[c, c] = bilinear_kernel(KERNEL)
    dense = dense.to(device)

    def plain() -> Any:
        return dense(scores)

    def ours() -> Any:
        return transposed_bilinear(scores, STRIDE, KERNEL)

    forward = {"plain": plain, "ours": ours}[variant]

    def step() -> tuple[Any, Any]:
        scores.grad = None
        out = forward()
        out.backward(gradient)
        return out.detach(), scores.grad

    return step


def difference(device: Any) -> float:
    """The largest difference of outputs or gradients, relative to the largest value."""
    both = zip(steps("plain", device)(), steps("ours", device)(), strict=True)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in both)


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=5)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (%(default)s)")
    parser.add_argument("--worker", nargs=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    from xfer.device import find_device

    device = find_device(options.device)
    if options.worker:
        from xfer.device import placed

        lowest, highest = (1, 0.0) if options.quick else (5, 2.0)
        with placed(options.device) as place:
            step = steps(options.worker[0], device)
            taken = harness.seconds_per_call(step, place.synchronise, lowest, highest)
        print(json.dumps({"seconds": taken}))
        return
    rounds = 1 if options.quick else options.rounds
    flags = ["--device", options.device, *(["--quick"] if options.quick else [])]
    print(harness.machine(options.device))
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(rounds):
        for variant, times in seconds.items():
            times.append(harness.worker(__file__, [variant, *flags])["seconds"])
            print(f"{variant}: {times[-1] * 1000:.1f} ms", flush=True)
    middle, lowest, highest = harness.median_ratio(seconds["plain"], seconds["ours"])
    print(f"ratios {lowest:.1f} to {highest:.1f} in {rounds} rounds")
    harness.report({"upsample": middle, "difference": difference(device)}, options.json)


if __name__ == "__main__":
    main()
