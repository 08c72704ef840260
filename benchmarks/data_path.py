"""The data path of training: pictures per second and core, to a normalised float batch.

plain      PIL and torchvision as in most scripts: Image.open, convert, RandomResizedCrop
           (224), RandomHorizontalFlip, ToTensor, Normalize, torch.stack
files      xfer's loader on the same files
pack_jpeg  xfer's loader on a JPEG pack of them (`xfer data pack SPEC -o DIR`)
pack_raw   xfer's loader on a raw pack of them (`--raw`)

All read the pictures of coco-mini and voc-mini under $XFER_TEST_DATA, or ../shared/data beside
the repository, in batches of 32, as in the default recipe, with random crops of 0.08 to 1 of the
picture, half of them mirrored. One core, one thread each; packing is not timed. Seconds are the
process's own CPU time: the files are in memory after the first pass, so nothing waits, and other
jobs on the core don't count. The ratio is plain's seconds over ours: larger means we are faster.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE, BATCH = 224, 32
OURS = ("files", "pack_jpeg", "pack_raw")
CLOCK = time.process_time


def pictures() -> tuple[Path, list[Path]]:
    """(the folder of the data, the picture files of both sets)."""
    from xfer.data.images.walk import find_pictures

    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    root = Path(os.environ.get("XFER_TEST_DATA") or beside)
    folders = [root / "coco-mini" / "train2017", root / "coco-mini" / "val2017"]
    folders.append(root / "voc-mini" / "JPEGImages")
    found = [p for folder in folders if folder.is_dir() for p in find_pictures(folder)]
    if not found:
        raise SystemExit(f"no coco-mini and voc-mini in {root}: set XFER_TEST_DATA")
    return root, found


def file_source(root: Path, files: list[Path]) -> Any:
    """The files as an xfer source, without labels."""
    import numpy as np

    from xfer.data.sources.files import FileSource
    from xfer.types import DataInfo

    names = [str(file.relative_to(root)) for file in files]
    info = DataInfo("mini", "images", ())
    return FileSource(info, root, names, np.full(len(names), -1, np.int64))


def plain_pass(files: list[Path]) -> Callable[[], None]:
    """One pass over the files by PIL and torchvision."""
    import torch
    from PIL import Image
    from torchvision import transforms as T

    change = T.Compose([
        T.RandomResizedCrop(SIZE), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)
    ])  # fmt: skip

    def load(file: Path) -> Any:
        with Image.open(file) as image:
            return change(image.convert("RGB"))

    def go() -> None:
        for start in range(0, len(files), BATCH):
            torch.stack([load(file) for file in files[start : start + BATCH]])

    return go


class Pixels:
    """The transform of a task, without a label."""

    def __init__(self, cut: Any) -> None:
        self.cut, self.shape, self.rows = cut, cut.shape, cut.rows

    def __call__(self, sample: Any, *rng_and_place: Any) -> Any:
        return self.cut(sample.image, *rng_and_place)


def our_pass(source: Any) -> Callable[[], None]:
    """One pass over a source by xfer's loader, in this thread: each picture once."""
    import torch

    from xfer.data.loading.loader import Loader, stack_images
    from xfer.data.transforms.crops import TrainTransform
    from xfer.nn.normalise import scale_and_shift
    from xfer.types import Batch

    cut = Pixels(TrainTransform(SIZE, area=(0.08, 1.0), augment="light"))
    loader = Loader(
        source, cut, lambda items: Batch(stack_images(items), ()),
        batch=BATCH, train=False, workers=0, short_side=512,
    )  # fmt: skip
    scale = [1 / (255 * s) for s in STD]
    shift = [-m / s for m, s in zip(MEAN, STD, strict=True)]
    epoch = 0

    def go() -> None:
        nonlocal epoch
        for batch in loader.batches(epoch):
            scale_and_shift(batch.images, scale, shift, torch.float32)
        epoch += 1

    return go


def work(options: argparse.Namespace) -> None:
    """One variant, in this process, on one core; prints its seconds per picture."""
    import cv2
    import torch

    from xfer.data.open import open_data
    from xfer.device import placed

    variant, packs = options.worker
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    root, files = pictures()
    min_calls, seconds = (1, 0.0) if options.quick else (3, 3.0)
    if variant == "plain":
        torch.set_num_threads(1)
        taken = harness.seconds_per_call(plain_pass(files), lambda: None, min_calls, seconds, CLOCK)
    else:
        with placed("cpu", "fp32"):
            torch.set_num_threads(1)
            cv2.setNumThreads(0)
            source = file_source(root, files)
            if variant != "files":
                bundle = open_data(Path(packs) / variant, check=False, cut=False)
                (source,) = bundle.splits.values()
            taken = harness.seconds_per_call(
                our_pass(source), lambda: None, min_calls, seconds, CLOCK
            )
    print(json.dumps({"seconds": taken / len(files)}))


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=5)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    from xfer.data.pack.writer import Packing, pack

    rounds = 1 if options.quick else options.rounds
    print(harness.machine("cpu"))
    root, files = pictures()
    with tempfile.TemporaryDirectory() as folder:
        for raw, name in ((False, "pack_jpeg"), (True, "pack_raw")):
            packed = pack(file_source(root, files), Path(folder) / name, Packing(raw=raw))
            print(f"{name}: {packed.images} pictures, {packed.bytes / packed.images / 1e3:.0f} KB")
        seconds: dict[str, list[float]] = {name: [] for name in ("plain", *OURS)}
        for _ in range(rounds):
            for name, times in seconds.items():
                arguments = [name, folder, *(["--quick"] if options.quick else [])]
                times.append(harness.worker(__file__, arguments)["seconds"])
            rates = ", ".join(f"{name} {1 / times[-1]:.0f}" for name, times in seconds.items())
            print(f"images/s/core: {rates}", flush=True)
    found: dict[str, float] = {}
    for name in OURS:
        found[name], lowest, highest = harness.median_ratio(seconds["plain"], seconds[name])
        print(f"{name}: ratios {lowest:.2f} to {highest:.2f} in {rounds} rounds")
    harness.report(found, options.json)


if __name__ == "__main__":
    main()
