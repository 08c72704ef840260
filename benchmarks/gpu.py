"""Training throughput of one GPU, pictures per second: the product's own loop, in all its parts.

reference | torchvision's net by default: fp32, NCHW, torch.optim.SGD, batch already on the device
synthetic | Job and train_step of `xfer pretrain`, bf16, on one batch that stays on the device:
          | uint8 pictures of 256 px, cut, mirrored and normalised there
compiled  | the same with run.compile=true
raw       | Loader, copies and train_step from a raw pack, crops on the device
jpeg      | the same from a JPEG pack, decoded on the device (nvJPEG through torchvision)
boxes     | Faster R-CNN on VGG-16 and Fast R-CNN on AlexNet, 600 px, one batch that stays there

The packs are written here, from smooth random pictures. Each figure is the median of --rounds
turns. roofline: floating-point operations per second of the step (torch's counter) over those of a
bf16 product of 8192 x 8192 matrices on the same card; raw_fed, jpeg_fed: share of the best
synthetic figure. --profile prints which kernels take the time of a step.

Without a GPU it says so and every figure is null; --device cpu is a trial of the script alone.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NETS = ("alexnet", "alexnet_2012", "alexnet_bn", "resnet18", "vgg16")
SIZES = (128, 160, 224)
SIDE = 256
INPUTS = ("reference", "synthetic", "compiled", "raw", "jpeg")
BOXES: dict[str, tuple[str, dict[str, Any]]] = {
    "faster_rcnn vgg16": ("vgg16", {"detector": "faster"}),
    "fast_rcnn alexnet": ("alexnet", {"detector": "fast", "proposals": "grid"}),
}


def recipe_of(task: str, net: str, source: str, **keys: Any) -> Any:
    """A recipe for a step: random weights, SGD as in pretrain/imagenet."""
    from xfer.recipe.tables import Recipe, override

    base = Recipe(name="gpu", task=task, backbone=net, weights="none")
    fixed = {"data.source": source, "optim.name": "sgd", "optim.lr": 1e-3, "schedule.epochs": 1e6,
             "data.cache_mb": 0}  # fmt: skip
    return override(base, {**fixed, **keys})


def make_job(recipe: Any, device: Any) -> Any:
    from xfer.device import Place
    from xfer.recipe.data import open_recipe_data
    from xfer.train.job import Job

    return Job(recipe, Place(device, "bf16"), open_recipe_data(recipe))


def step_of(job: Any) -> Callable[[Any], None]:
    """What `xfer.train.loop` does with a batch."""
    from xfer.train.step import train_step

    def step(batch: Any) -> None:
        job.begin_step()
        job.add_losses(train_step(job, batch))
        job.step += 1

    return step


def reference_step(name: str, size: int, batch: int, device: Any) -> Callable[[Any], None] | None:
    """torchvision's net as in most scripts; None for a net that it lacks."""
    import torch
    import torch.nn.functional as F
    import torchvision

    if name not in ("alexnet", "resnet18", "vgg16"):
        return None
    net = getattr(torchvision.models, name)(weights=None).to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(batch, 3, size, size, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)

    def step(_: Any) -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()

    return step


def wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(
    step: Callable[[Any], None], batches: Iterator[Any], pictures: int, device: Any,
    options: argparse.Namespace,
) -> float:  # fmt: skip
    """Pictures per second, the median of rounds after an uncounted first one."""
    found: list[float] = []
    for turn in range(options.rounds + 1):
        wait(device)
        start = time.perf_counter()
        for _ in range(options.steps):
            step(next(batches))
        wait(device)
        if turn:
            found.append(options.steps * pictures / (time.perf_counter() - start))
    return statistics.median(found)


def peak(device: Any, side: int) -> float:
    """Floating-point operations per second of a bf16 matrix product."""
    import torch

    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        torch.mm(a, a)
    wait(device)
    start = time.perf_counter()
    for _ in range(20):
        torch.mm(a, a)
    wait(device)
    return 20 * 2 * side**3 / (time.perf_counter() - start)


def operations(step: Callable[[Any], None], batch: Any) -> float:
    """Floating-point operations of a training step per picture."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step(batch)
    return counter.get_total_flops() / len(batch)


def profile(step: Callable[[Any], None], batch: Any) -> str:
    """The kernels that take most of three steps' time."""
    from torch.profiler import profile

    with profile() as found:
        for _ in range(3):
            step(batch)
    return found.key_averages().table(sort_by="self_device_time_total", row_limit=12)


def write_packs(root: Path, count: int) -> dict[str, str]:
    """A raw and a JPEG pack of smooth random pictures, 256 px high, some wider than others."""
    import numpy as np
    from PIL import Image

    from xfer.data.pack.writer import Packing, pack

    rng = np.random.default_rng(0)
    photos = root / "photos"
    for k in range(count):
        (photos / str(k % 2)).mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (16, 20, 3), np.uint8))
        picture = small.resize((SIDE + 8 * (k % 12), SIDE), Image.Resampling.BICUBIC)
        picture.save(photos / str(k % 2) / f"{k}.jpg", quality=90)
    for raw in (True, False):
        pack(str(photos), root / ("raw" if raw else "jpeg"), Packing(SIDE, raw))
    return {kind: str(root / kind) for kind in ("raw", "jpeg")}


def classifier(
    name: str, size: int, packs: dict[str, str], device: Any, flops: float,
    options: argparse.Namespace,
) -> dict[str, float | None]:  # fmt: skip
    """The figures of one net at one size, for all inputs."""
    from xfer.device import on_device

    batch = options.batch
    keys = {"data.batch": batch, "data.size": size, "data.workers": options.threads,
            "data.crop_on": "device", "data.augment": "light"}  # fmt: skip
    found: dict[str, float | None] = {}
    reference = reference_step(name, size, batch, device)
    if reference is not None:
        found["reference"] = rate(reference, itertools.repeat(None), batch, device, options)
        del reference
    job = make_job(recipe_of("classify", name, packs["raw"], **keys), device)
    with contextlib.closing(job.batches()) as host:
        there = next(on_device(host, job.place))
    step = step_of(job)
    work = operations(step, there)
    found["synthetic"] = rate(step, itertools.repeat(there), batch, device, options)
    if options.profile:
        print(profile(step, there), flush=True)
    compile_ = False
    if not options.eager:
        recipe = recipe_of("classify", name, packs["raw"], **keys, **{"run.compile": True})
        own = step_of(make_job(recipe, device))
        found["compiled"] = rate(own, itertools.repeat(there), batch, device, options)
        compile_ = found["compiled"] > found["synthetic"]
    top = max(found["synthetic"], found.get("compiled") or 0)
    found["roofline"] = top * work / flops
    for kind, source in packs.items():
        more = {"data.decode": "device"} if kind == "jpeg" and device.type == "cuda" else {}
        recipe = recipe_of("classify", name, source, **keys, **more, **{"run.compile": compile_})
        fed = make_job(recipe, device)
        with contextlib.closing(fed.batches()) as host:
            speed = rate(step_of(fed), on_device(host, fed.place), batch, device, options)
        found |= {kind: speed, f"{kind}_fed": speed / top}
    return found


def detector(name: str, device: Any, options: argparse.Namespace) -> float:
    """Pictures per second of a detector's step."""
    from xfer.device import on_device

    net, task_options = BOXES[name]
    batch = 2 if options.quick else 16
    keys = {"data.batch": batch, "data.size": 96 if options.quick else 600, "data.limit": 2 * batch}
    tasks = {f"task.{key}": value for key, value in task_options.items()}
    job = make_job(recipe_of("detect", net, "digits", **keys, **tasks), device)
    with contextlib.closing(job.batches()) as host:
        there = next(on_device(host, job.place))
    return rate(step_of(job), itertools.repeat(there), batch, device, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the results to this file, as JSON"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="steps per round (%(default)s)")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=-1, help="of the loader; -1: one per core")
    parser.add_argument("--net", choices=NETS, action="append", help="only this net")
    parser.add_argument("--size", type=int, choices=SIZES, action="append", help="only this size")
    parser.add_argument("--boxes", choices=BOXES, action="append", help="only this detector")
    parser.add_argument("--device", default="cuda", help="cpu: only a trial, without figures")
    parser.add_argument("--eager", action="store_true", help="don't try torch.compile")
    parser.add_argument("--profile", action="store_true", help="print the kernels of a step")
    parser.add_argument("--pack", type=int, default=8192, help="pictures in the pack (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round with few pictures")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.steps = 1, 1
        options.batch, options.pack = min(options.batch, 4), min(options.pack, 8)
    one = options.net or options.boxes
    options.net = options.net or ([] if one else list(NETS))
    options.boxes = options.boxes or ([] if one else list(BOXES))
    options.size = options.size or list(SIZES)
    return options


def main() -> None:
    options = arguments()
    import torch

    if options.device != "cpu" and not torch.cuda.is_available():
        print("no GPU: not measured")
        keys = [f"{n} {s} {kind}" for n in options.net for s in options.size for kind in INPUTS]
        write(options.json, {"device": None, **dict.fromkeys([*keys, *options.boxes])})
        return
    device = torch.device(options.device)
    cuda = device.type == "cuda"
    what = torch.cuda.get_device_name(device) if cuda else "cpu: the figures are meaningless"
    flops = peak(device, 8192 if cuda else 256)
    print(f"{what}; torch {torch.__version__}; batch {options.batch}; "
          f"bf16 products {flops / 1e12:.3g} TFLOP/s", flush=True)  # fmt: skip
    results: dict[str, Any] = {"device": what, "batch": options.batch, "flops": flops}
    with tempfile.TemporaryDirectory() as scratch:
        packs = write_packs(Path(scratch), options.pack) if options.net else {}
        for name, size in itertools.product(options.net, options.size):
            found = classifier(name, size, packs, device, flops, options)
            results |= {f"{name} {size} {kind}": value for kind, value in found.items()}
            summary = ", ".join(
                f"{kind} {v:,.0f}" if v and v > 10 else f"{kind} {v:.2f}"
                for kind, v in found.items() if v is not None
            )  # fmt: skip
            print(f"{name} {size}: {summary}", flush=True)
            write(options.json, results)  # results so far, in case a later net fails
    for name in options.boxes:
        results[name] = detector(name, device, options)
        print(f"{name}: {results[name]:,.1f}", flush=True)
        write(options.json, results)


def write(file: Path | None, results: dict[str, Any]) -> None:
    if file is not None:
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
