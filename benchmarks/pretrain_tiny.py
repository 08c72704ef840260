"""Training from scratch on Tiny-ImageNet: pretrain/tiny against plain torch, in equal time.

plain  torchvision's alexnet at 128 px, fp32, batch 128, SGD (momentum .9, decay 5e-4) with
       OneCycleLR to .02, 15 epochs of random resized crops and mirror images, decoded by Pillow in
       a DataLoader with one worker per core: as in most scripts
ours   pretrain/tiny from a pack, with as many epochs as end within plain's time: the rate is
       measured in a short run first; packing and that run count as our time

Both start from random weights, are trained on train only (20,000 pictures of 64 px, 100 classes)
and scored once on val (5,000), after the last step. top1 is ours; seconds_ratio is our seconds over
plain's. Takes an hour on two cores.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np

PLAIN_EPOCHS = 15
BATCH = 128
SPARE = 0.93  # fraction of plain's time to use: machines' speeds drift


class Tiny:
    """A split of the shared npz: JPEGs with one header for all (SOURCE.md beside them).

    A Source, which xfer reads directly; plain's DataLoader reads `jpeg`.
    """

    def __init__(self, folder: Path, split: str, limit: int = 0) -> None:
        from xfer.types import DataInfo

        with np.load(folder / f"{split}.npz") as found:
            self.header, self.data = found["header"].tobytes(), found["data"]
            self.offsets = found["offsets"].astype(np.int64)
            labels, names = found["labels"].astype(np.int64), found["names"].tolist()
            classes = tuple(str(c) for c in found["classes"])
        count = len(labels)
        self.chosen = (
            np.arange(count) if not limit else np.linspace(0, count - 1, limit).astype(int)
        )
        self.label = labels[self.chosen]
        self.ids = tuple(f"{split}/{names[i]}" for i in self.chosen)
        self.info = DataInfo("tiny-imagenet-100", "classify", classes, split)

    def __len__(self) -> int:
        return len(self.chosen)

    def jpeg(self, i: int) -> bytes:
        k = self.chosen[i]
        return self.header + self.data[self.offsets[k] : self.offsets[k + 1]].tobytes()

    def __getitem__(self, i: int) -> Any:
        from xfer.data.images.decode import decode
        from xfer.types import Sample

        return Sample(self.ids[i], decode(self.jpeg(i)), int(self.label[i]))

    def labels(self) -> Any:
        return self.label

    def fingerprint(self) -> str:
        return f"{self.info.split} {len(self)} {int(self.label.sum())} {len(self.data)}"


class PlainSet:
    """A data set as in most scripts: Pillow, torchvision's transforms."""

    def __init__(self, tiny: Tiny, train: bool) -> None:
        from torchvision import transforms as T

        last = [T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
        first = [T.RandomResizedCrop(128), T.RandomHorizontalFlip()] if train else [T.Resize(128)]
        self.tiny, self.transform = tiny, T.Compose([*first, *last])

    def __len__(self) -> int:
        return len(self.tiny)

    def __getitem__(self, i: int) -> Any:
        from PIL import Image

        image = Image.open(io.BytesIO(self.tiny.jpeg(i))).convert("RGB")
        return self.transform(image), int(self.tiny.label[i])


def plain(folder: Path, epochs: int, limit: int) -> dict[str, float]:
    """The whole plain training; returns its seconds and top-1 on val."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader
    from torchvision.models import alexnet

    torch.manual_seed(0)
    train = PlainSet(Tiny(folder, "train", limit), True)
    val = PlainSet(Tiny(folder, "val", limit), False)
    workers = harness_cores()
    start = time.perf_counter()
    net = alexnet(num_classes=100)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    sets: Any = (train, val)  # it has the methods that a DataLoader needs
    batches: Any = DataLoader(
        sets[0], BATCH, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, epochs * len(batches))
    for epoch in range(epochs):
        net.train()
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            schedule.step()
        print(f"plain: epoch {epoch + 1}, {time.perf_counter() - start:.0f} s", flush=True)
    seconds = time.perf_counter() - start
    net.eval()
    right = 0
    with torch.no_grad():
        for images, labels in DataLoader(sets[1], 256, num_workers=workers):
            right += int((net(images).argmax(1) == labels).sum())
    return {"top1": right / len(val), "seconds": seconds}


def harness_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ours(folder: Path, seconds: float, limit: int, settings: dict[str, Any]) -> dict[str, float]:
    """Packs, measures the rate in the first steps of each size, and trains for the rest of the
    seconds; returns the seconds of all that, and top-1 on val."""
    from dataclasses import replace

    from xfer.data.pack.writer import Packing, pack
    from xfer.recipe.choose import build_recipe
    from xfer.train.loop import fit

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        splits = {split: Tiny(folder, split, limit) for split in ("train", "val")}
        pack(splits, place / "pack", Packing(side=0, raw=True))
        # val is scored once, at the end
        base: dict[str, Any] = {"test": "val", "val": "none", "run.plots": False, **settings}

        def run(name: str, **more: Any) -> Any:
            recipe = build_recipe(
                f"pack:{place / 'pack'}", recipe="pretrain/tiny", settings={**base, **more}
            )
            recipe = replace(recipe, data=replace(recipe.data, cache_mb=0))
            return fit(recipe, place / name, verbosity=-1).result

        tried = run("rate", **{"schedule.steps": 6 if limit else 90, "data.limit": 12 * BATCH})
        left = SPARE * seconds - (time.perf_counter() - start)
        epochs = max(1, int(left * tried["images_per_second"] / len(splits["train"])))
        print(f"ours: {tried['images_per_second']:.0f} images/s, {epochs} epochs fit into "
              f"{left:.0f} s", flush=True)  # fmt: skip
        result = run("run", epochs=epochs)
    return {
        "top1": result["test_metrics"]["top1"], "seconds": time.perf_counter() - start,
        "epochs": epochs, "images_per_second": result["images_per_second"],
        "data_wait": result["data_wait"],
    }  # fmt: skip


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=1)
    default = os.environ.get("XFER_TEST_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="the shared pictures")
    parser.add_argument("--seconds", type=float, help="plain's time; plain is then not run")
    parser.add_argument("--plain-top1", type=float, default=float("nan"), help="with --seconds")
    parser.add_argument("--set", nargs="*", default=[], metavar="A.B=VALUE", help="of our recipe")
    parser.add_argument("--worker", nargs=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.data / "tiny-imagenet-100"
    limit = 2 * BATCH if options.quick else 0
    if options.worker:
        from xfer.recipe.toml import parse_assignments

        if options.worker[0] == "plain":
            print(json.dumps(plain(folder, 1 if options.quick else PLAIN_EPOCHS, limit)))
        else:
            settings = parse_assignments(options.set)
            print(json.dumps(ours(folder, options.seconds, limit, settings)))
        return
    print(harness.machine("cpu"))
    flags = ["--data", str(options.data), *(["--quick"] if options.quick else [])]
    first = {"seconds": options.seconds, "top1": options.plain_top1}
    if options.seconds is None:
        first = harness.worker(__file__, ["plain", *flags])
        print(f"plain: {first['seconds']:.0f} s, top-1 {first['top1']:.4f}", flush=True)
    given = ["--set", *options.set] if options.set else []
    second = harness.worker(__file__, ["ours", *flags, "--seconds", str(first["seconds"]), *given])
    print(f"ours: {second}")
    harness.report(
        {
            "top1": second["top1"], "plain_top1": first["top1"],
            "seconds_ratio": second["seconds"] / first["seconds"], "epochs": second["epochs"],
            "plain_seconds": first["seconds"], "data_wait": second["data_wait"],
        },
        options.json,
    )  # fmt: skip


if __name__ == "__main__":
    main()
