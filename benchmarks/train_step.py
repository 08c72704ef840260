"""A training step of AlexNet: ours against plain torch, as in most scripts.

plain  torchvision's alexnet, or the net of 2012 written with torch's own layers; fp32, NCHW,
       torch.optim.SGD (momentum .9, weight decay 5e-4), the default allocator
ours   xfer's backbone, precision, memory layout, allocator settings and optimiser, chosen by
       `--device auto --precision auto` as in a run

A step is: zero gradients, forward, cross-entropy, backward, update, on one batch of normalised
float pictures on the device. Both have the same shapes. The ratio is plain seconds over ours:
larger means we are faster.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import harness

BATCH = {"alexnet": 128, "alexnet_2012": 64}
SIDE = {"alexnet": 224, "alexnet_2012": 227}


def plain_2012() -> Any:
    """Krizhevsky 2012, sec. 3.5, as most would write it: groups, LRN after the ReLU, 227 px."""
    from torch import nn

    def norm() -> nn.Module:
        return nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)

    return nn.Sequential(
        nn.Conv2d(3, 96, 11, 4), nn.ReLU(True), norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, 1, 2, groups=2), nn.ReLU(True), norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, 1, 1), nn.ReLU(True),
        nn.Conv2d(384, 384, 3, 1, 1, groups=2), nn.ReLU(True),
        nn.Conv2d(384, 256, 3, 1, 1, groups=2), nn.ReLU(True), nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(True), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(),
        nn.Linear(4096, 1000),
    )  # fmt: skip


def plain_step(net_name: str, batch: int, device: str) -> tuple[Callable[[], Any], Any]:
    """Plain torch's step, and the place it runs on."""
    import torch
    import torch.nn.functional as F

    from xfer.device import Place, find_device

    place = Place(find_device(device))
    if net_name == "alexnet":
        from torchvision.models import alexnet

        net = alexnet()
    else:
        net = plain_2012()
    net = net.to(place.device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images, labels = _batch(net_name, batch, place.device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()

    return step, place


def our_step(net_name: str, batch: int, place: Any) -> Callable[[], Any]:
    """A step with xfer's backbone, layout, precision and optimiser."""
    import torch
    import torch.nn.functional as F

    from xfer.backbones.build import create_backbone
    from xfer.recipe.tables import OptimTable
    from xfer.train.optim import Group, build_optimizer

    options: dict[str, Any] = {"lrn": "paper"} if net_name == "alexnet_2012" else {}
    net = create_backbone(net_name, classifier=True, **options)
    place.put(net).train()
    group = Group("all", 1.0, 5e-4, tuple(net.parameters()))
    optimizer = build_optimizer([group], OptimTable(name="sgd", lr=0.01, momentum=0.9))
    images, labels = _batch(net_name, batch, place.device)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad()
        with place.autocast():
            loss = F.cross_entropy(net.logits(images).float(), labels)
        loss.backward()
        optimizer.step()

    return step


def _batch(net_name: str, batch: int, device: Any) -> tuple[Any, Any]:
    import torch

    torch.manual_seed(0)
    side = SIDE[net_name]
    images, labels = torch.randn(batch, 3, side, side), torch.randint(1000, (batch,))
    return images.to(device), labels.to(device)


def work(options: argparse.Namespace) -> None:
    """One variant of one net, in this process; prints its seconds per step."""
    from xfer.device import placed

    variant, net_name = options.worker
    batch = options.batch or BATCH[net_name]
    min_calls, seconds = (1, 0.0) if options.quick else (5, 8.0)
    if variant == "plain":
        step, place = plain_step(net_name, batch, options.device)
        taken = harness.seconds_per_call(step, place.synchronise, min_calls, seconds)
    else:
        with placed(options.device, "auto") as place:
            step = our_step(net_name, batch, place)
            taken = harness.seconds_per_call(step, place.synchronise, min_calls, seconds)
    print(json.dumps({"seconds": taken, "precision": place.precision}))


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=5)
    parser.add_argument("--batch", type=int, default=0, help="128 for alexnet, 64 for alexnet_2012")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (%(default)s)")
    parser.add_argument("--net", choices=sorted(BATCH), action="append", help="only this net")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    rounds = 1 if options.quick else options.rounds
    flags = ["--device", options.device, *(["--quick"] if options.quick else [])]
    print(harness.machine(options.device))
    found: dict[str, float] = {}
    for net_name in options.net or BATCH:
        batch = options.batch or BATCH[net_name]
        seconds: dict[str, list[float]] = {"plain": [], "ours": []}
        precision = ""
        for _ in range(rounds):
            for variant, times in seconds.items():
                arguments = [variant, net_name, "--batch", str(batch), *flags]
                result = harness.worker(__file__, arguments)
                times.append(result["seconds"])
                precision = result["precision"]
            print(f"{net_name} b{batch}: plain {seconds['plain'][-1]:.4f} s, "
                  f"ours ({precision}) {seconds['ours'][-1]:.4f} s/step", flush=True)  # fmt: skip
        middle, lowest, highest = harness.median_ratio(seconds["plain"], seconds["ours"])
        print(f"{net_name}: ratios {lowest:.2f} to {highest:.2f} in {rounds} rounds")
        found[net_name] = middle
    harness.report(found, options.json)


if __name__ == "__main__":
    main()
