"""Training throughput of one GPU, images per second, and whether raw and JPEG packs can feed it.

Needs only torch, torchvision and timm, so that it runs on a bare machine; without a GPU it says so
and every figure is null.

reference | torchvision's net by default: fp32, NCHW, torch.optim.SGD, batch already on the device
synthetic | xfer's net, bf16, channels_last, fused SGD, crops, mirror images and normalisation on
          | the device, from uint8 pictures of 256 px that are already on it
raw       | the same, fed from a raw pack: threads copy a square of each picture into pinned memory,
          | which is copied to the device while it computes
jpeg      | the same from a JPEG pack, decoded on the device (nvJPEG through torchvision)

The script writes the pack, in the layout of xfer/data/pack/reader.py, from random smooth pictures.
Each figure is the median of --rounds turns. roofline: floating-point operations per second of the
step (torch's counter) over those of a bf16 product of 8192 x 8192 matrices on the same card.
"""

from __future__ import annotations

import argparse
import io
import json
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

NETS = ("alexnet", "alexnet_2012", "alexnet_bn", "resnet18")
SIZES = (128, 160, 224)
SIDE = 256
INPUTS = ("reference", "synthetic", "raw", "jpeg")
AHEAD = 4


class PackFiles:
    """The pictures of a pack's only split, by index; xfer/data/pack/reader.py has the layout."""

    def __init__(self, root: Path) -> None:
        index = json.loads((root / "index.json").read_text(encoding="utf-8"))
        self.raw = index["pixels"] == "raw"
        self.files: list[np.ndarray] = []
        rows: list[tuple[int, int, int, int, int]] = []
        for number, shard in enumerate(index["shards"]):
            whole = np.asarray(np.memmap(root / f"{shard['name']}.bin", np.uint8, "r"))
            self.files.append(whole)
            with np.load(root / f"{shard['name']}.npz") as table:
                places = zip(table["start"].tolist(), table["length"].tolist(),
                             table["size"].tolist(), strict=True)  # fmt: skip
                rows += [(number, start, length, h, w) for start, length, (h, w) in places]
        self.rows = rows

    def square(self, i: int, out: np.ndarray, rng: np.random.Generator) -> None:
        """Copies a random square of raw picture i, as large as `out`."""
        shard, start, length, height, width = self.rows[i]
        image = self.files[shard][start : start + length].reshape(height, width, 3)
        side = len(out)
        y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        np.copyto(out, image[y : y + side, x : x + side])

    def coded(self, i: int) -> torch.Tensor:
        """The bytes of JPEG i."""
        shard, start, length, _, _ = self.rows[i]
        return torch.from_numpy(self.files[shard][start : start + length].copy())


def write_pack(root: Path, raw: bool, count: int) -> PackFiles:
    """A pack of smooth random pictures, 256 px high, some wider than others."""
    from PIL import Image

    root.mkdir()
    rng = np.random.default_rng(0)
    rows: list[tuple[int, int, int, int]] = []
    with (root / "shard-00000.bin").open("wb") as file:
        for k in range(count):
            width = SIDE + 8 * (k % 12)
            small = Image.fromarray(rng.integers(0, 256, (16, 20, 3), np.uint8))
            picture = small.resize((width, SIDE), Image.Resampling.BICUBIC)
            coded = io.BytesIO()
            picture.save(coded, "JPEG", quality=90)
            data = np.asarray(picture).tobytes() if raw else coded.getvalue()
            rows.append((file.tell(), len(data), SIDE, width))
            file.write(data)
    start, length, height, width = (np.array(column) for column in zip(*rows, strict=True))
    np.savez(root / "shard-00000.npz", start=start, length=length,
             size=np.stack([height, width], 1))  # fmt: skip
    index = {"format": "xfer-pack", "version": 1, "pixels": "raw" if raw else "jpeg",
             "shards": [{"name": "shard-00000"}]}  # fmt: skip
    (root / "index.json").write_text(json.dumps(index))
    return PackFiles(root)


def fed_raw(
    pack: PackFiles, batch: int, device: torch.device, threads: int
) -> Iterator[torch.Tensor]:
    """Batches (N, 3, 256, 256) uint8 on the device; copying overlaps with computation there."""
    cuda = device.type == "cuda"
    free: queue.Queue[torch.Tensor] = queue.Queue()
    full: queue.Queue[torch.Tensor | BaseException] = queue.Queue()
    for _ in range(AHEAD):
        free.put(torch.empty(batch, SIDE, SIDE, 3, dtype=torch.uint8, pin_memory=cuda))
    stop = threading.Event()

    def fill() -> None:
        rng = np.random.default_rng(0)
        parts = [range(k, batch, threads) for k in range(threads)]

        def some(part: range, places: list[int], rows: np.ndarray, seed: int) -> None:
            own = np.random.default_rng(seed)
            for k in part:
                pack.square(places[k], rows[k], own)

        try:
            with ThreadPoolExecutor(threads) as pool:
                while not stop.is_set():
                    room = free.get()
                    places = rng.integers(0, len(pack.rows), batch).tolist()
                    rows, seed = room.numpy(), int(rng.integers(1 << 30))
                    list(pool.map(lambda p: some(p, places, rows, seed + p.start), parts))  # noqa: B023
                    full.put(room)
        except BaseException as error:
            full.put(error)

    filler = threading.Thread(target=fill, daemon=True)
    filler.start()
    stream = torch.cuda.Stream() if cuda else None
    waiting: list[tuple[torch.Tensor, torch.Tensor, Any]] = []
    try:
        while True:
            while len(waiting) < 2:
                room = full.get()
                if isinstance(room, BaseException):
                    raise room
                if stream is None:
                    waiting.append((room.clone(), room, None))
                    continue
                with torch.cuda.stream(stream):
                    there = room.to(device, non_blocking=True)
                    waiting.append((there, room, stream.record_event()))
            there, room, done = waiting.pop(0)
            if done is not None:
                done.synchronize()  # the pinned memory is reused: the copy must be complete
                there.record_stream(torch.cuda.current_stream())
            free.put(room)
            yield there.permute(0, 3, 1, 2)
    finally:
        stop.set()
        free.put(torch.empty(batch, SIDE, SIDE, 3, dtype=torch.uint8))
        filler.join()


def fed_jpeg(pack: PackFiles, batch: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Batches decoded on the device, while the bytes of the next one are gathered."""
    from torchvision.io import ImageReadMode, decode_jpeg

    rng = np.random.default_rng(0)
    with ThreadPoolExecutor(1) as pool:

        def gather() -> list[torch.Tensor]:
            return [pack.coded(i) for i in rng.integers(0, len(pack.rows), batch).tolist()]

        coming = pool.submit(gather)
        while True:
            coded = coming.result()
            coming = pool.submit(gather)
            images = decode_jpeg(coded, ImageReadMode.RGB, device)
            cut = [image[:, :SIDE, :SIDE] for image in images]
            yield torch.stack(cut).contiguous(memory_format=torch.channels_last)


def our_step(name: str, size: int, device: torch.device, compiled: bool) -> Callable[[Any], None]:
    """One training step from uint8 pictures on the device: xfer's net, layout and optimiser."""
    from xfer.backbones.build import create_backbone
    from xfer.device import Place
    from xfer.nn.device_crop import random_crops

    place = Place(device, "bf16")
    net = create_backbone(name, weights="none", classifier=True)
    place.put(net).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, fused=True)

    def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        crops = random_crops(images, size)
        with place.autocast():
            logits = net.logits(net.normalise(crops))
        return F.cross_entropy(logits.float(), labels)

    work = torch.compile(loss_of) if compiled else loss_of

    def step(images: torch.Tensor) -> None:
        labels = torch.zeros(len(images), dtype=torch.int64, device=device)
        work(images, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def reference_step(name: str, device: torch.device) -> Callable[[Any], None] | None:
    """torchvision's net as in most scripts; None for a net that it lacks."""
    import torchvision

    if name not in ("alexnet", "resnet18"):
        return None
    net = getattr(torchvision.models, name)(weights=None).to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def step(images: torch.Tensor) -> None:
        optimizer.zero_grad()
        labels = torch.zeros(len(images), dtype=torch.int64, device=device)
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()

    return step


def rate(
    step: Callable[[Any], None], batches: Iterator[torch.Tensor], device: torch.device,
    steps: int, rounds: int,
) -> float:  # fmt: skip
    """Images per second, the median of rounds after an uncounted first one."""
    found: list[float] = []
    for turn in range(rounds + 1):
        wait(device)
        start, seen = time.perf_counter(), 0
        for _ in range(steps):
            images = next(batches)
            step(images)
            seen += len(images)
        wait(device)
        if turn:
            found.append(seen / (time.perf_counter() - start))
    return statistics.median(found)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def same(images: torch.Tensor) -> Iterator[torch.Tensor]:
    while True:
        yield images


def peak(device: torch.device, side: int) -> float:
    """Floating-point operations per second of a bf16 matrix product."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        torch.mm(a, a)
    wait(device)
    start = time.perf_counter()
    for _ in range(20):
        torch.mm(a, a)
    wait(device)
    return 20 * 2 * side**3 / (time.perf_counter() - start)


def operations(step: Callable[[Any], None], images: torch.Tensor) -> float:
    """Floating-point operations of a training step per picture."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step(images)
    return counter.get_total_flops() / len(images)


def measure(name: str, size: int, options: argparse.Namespace, packs: dict[str, PackFiles],
            device: torch.device, peak_flops: float) -> dict[str, float | None]:  # fmt: skip
    """The figures of one net at one size, for all inputs."""
    batch, steps, rounds = options.batch, options.steps, options.rounds
    found: dict[str, float | None] = {}
    reference = reference_step(name, device)
    if reference is not None:
        images = torch.randn(batch, 3, size, size, device=device)
        found["reference"] = rate(reference, same(images), device, steps, rounds)
        del reference, images
    blank = torch.randint(256, (batch, SIDE, SIDE, 3), dtype=torch.uint8, device=device)
    blank = blank.permute(0, 3, 1, 2)
    eager = our_step(name, size, device, False)
    work = operations(eager, blank[:8])
    found["synthetic"] = rate(eager, same(blank), device, steps, rounds)
    best = eager
    if not options.eager:
        compiled = our_step(name, size, device, True)
        found["synthetic_compiled"] = rate(compiled, same(blank), device, steps, rounds)
        if found["synthetic_compiled"] > found["synthetic"]:
            best = compiled
    top = max(v for k, v in found.items() if v and k.startswith("synthetic"))
    found["roofline"] = top * work / peak_flops
    feeds: dict[str, Callable[[], Iterator[torch.Tensor]]] = {
        "raw": lambda: fed_raw(packs["raw"], batch, device, options.threads),
        "jpeg": lambda: fed_jpeg(packs["jpeg"], batch, device),
    }
    for kind, feed in feeds.items():
        batches = feed()
        speed = rate(best, batches, device, steps, rounds)
        batches.close()  # pyright: ignore[reportAttributeAccessIssue]
        found |= {kind: speed, f"{kind}_fed": speed / top}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the results to this file, as JSON"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="steps per round (%(default)s)")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument(
        "--threads", type=int, default=12, help="threads that copy pictures (%(default)s)"
    )
    parser.add_argument("--net", choices=NETS, action="append", help="only this net")
    parser.add_argument("--size", type=int, choices=SIZES, action="append", help="only this size")
    parser.add_argument("--device", default="cuda", help="cpu: only a test run, without figures")
    parser.add_argument("--eager", action="store_true", help="don't try torch.compile")
    parser.add_argument("--pack", type=int, default=8192, help="pictures in the pack (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round with few pictures")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.steps = 1, 2
        options.batch, options.pack = min(options.batch, 16), min(options.pack, 64)
    nets, sizes = options.net or NETS, options.size or SIZES
    if options.device != "cpu" and not torch.cuda.is_available():
        print("no GPU: not measured")
        keys = [f"{n} {s} {kind}" for n in nets for s in sizes for kind in INPUTS]
        write(options.json, {"device": None, **dict.fromkeys(keys)})
        return
    device = torch.device(options.device)
    cuda = device.type == "cuda"
    if cuda:
        torch.backends.cudnn.benchmark = True
    what = torch.cuda.get_device_name(device) if cuda else "cpu: the figures are meaningless"
    peak_flops = peak(device, 8192 if cuda else 256)
    print(f"{what}; torch {torch.__version__}; batch {options.batch}; "
          f"bf16 products {peak_flops / 1e12:.3g} TFLOP/s", flush=True)  # fmt: skip
    results: dict[str, Any] = {"device": what, "batch": options.batch, "flops": peak_flops}
    with tempfile.TemporaryDirectory() as scratch:
        packs = {kind: write_pack(Path(scratch) / kind, kind == "raw", options.pack)
                 for kind in ("raw", "jpeg")}  # fmt: skip
        for name in nets:
            for size in sizes:
                found = measure(name, size, options, packs, device, peak_flops)
                results |= {f"{name} {size} {kind}": value for kind, value in found.items()}
                summary = ", ".join(
                    f"{kind} {v:,.0f}" if v and v > 10 else f"{kind} {v:.2f}"
                    for kind, v in found.items() if v is not None
                )  # fmt: skip
                print(f"{name} {size}: {summary}", flush=True)
                write(options.json, results)  # results so far, in case a later net fails


def write(file: Path | None, results: dict[str, Any]) -> None:
    if file is not None:
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
