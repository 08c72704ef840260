"""An epoch of training a new head on a frozen AlexNet: cached features against plain torch.

plain  torchvision's alexnet convolutions in eval mode, fp32, NCHW, under no_grad, a linear layer on
       pool5 with AdamW; PIL and torchvision's random resized crop, flip, ToTensor, Normalize in a
       DataLoader with two workers
ours   `xfer finetune --freeze all` after the first pass over all views: the loop's own step
       (head with layer norm and dropout, AdamW, moving average) on the cached features

Pictures: those of coco-mini and voc-mini, with their set as the class. The first pass, which
computes the features, is reported beside the ratio; it runs once, and is cached.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
from features import Files, data_folder, pictures, plain_net

BATCH = 32


class Labelled(Files):
    """The pictures as users of torchvision augment them, with a label."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__(paths)
        from torchvision import transforms

        self.transform = transforms.Compose([
            transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ])  # fmt: skip

    def __getitem__(self, i: int) -> Any:
        return super().__getitem__(i), int("voc" in str(self.paths[i]))


def plain_epoch(paths: list[Path], device: Any, seconds: float) -> float:
    """Seconds of an epoch of the plain loop, the minimum of several after an uncounted one."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader

    trunk = plain_net(str(device))
    head = torch.nn.Linear(9216, 2).to(device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    dataset: Any = Labelled(paths)
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=2, persistent_workers=True)

    def epoch() -> None:
        for images, labels in loader:
            with torch.no_grad():
                maps = trunk(images.to(device)).flatten(1)
            optimizer.zero_grad()
            F.cross_entropy(head(maps), labels.to(device)).backward()
            optimizer.step()

    return timed(epoch, seconds)


def our_epoch(paths: list[Path], device: str, seconds: float) -> tuple[float, float]:
    """Seconds of our epoch, and of the first pass that computes the features."""
    from xfer.device import placed
    from xfer.recipe.data import open_recipe_data
    from xfer.recipe.tables import override
    from xfer.recipe.toml import load_recipe
    from xfer.train.cached_features import keep_features
    from xfer.train.job import Job
    from xfer.train.step import train_step

    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "labels.csv"
        rows = [f"{path},{'voc' if 'voc' in str(path) else 'coco'}" for path in paths]
        table.write_text("\n".join(["path,label", *rows]) + "\n")
        os.environ["XFER_CACHE"] = folder
        file = data_folder() / "weights" / "alexnet_torchvision_features" / "features.npz"
        recipe = override(load_recipe("classify/default"), {
            "data.source": f"csv:{table}", "data.val": "none", "optim.freeze": "all",
            "weights": str(file) if file.is_file() else "none", "task.head": "flat",
            "run.device": device,
        })  # fmt: skip
        with placed(device) as place:
            job = Job(recipe, place, open_recipe_data(recipe))
            keep_features(job, lambda text: None)
            numbers = iter(range(10**9))

            def epoch() -> None:
                for batch in job.train.batches(next(numbers)):
                    job.begin_step()
                    job.add_losses(train_step(job, batch.to(place.device)))
                    job.step = (job.step + 1) % job.steps
                place.synchronise()

            # our loop leaves out the last partial batch; the plain loop does not
            whole = len(paths) / (len(job.train) * BATCH)
            return timed(epoch, seconds) * max(1.0, whole), job.preparing


def timed(epoch: Any, seconds: float) -> float:
    epoch()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        epoch()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=3)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (%(default)s)")
    parser.add_argument("--worker", nargs=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    paths = pictures(options.quick)
    if options.worker:
        worker(options, paths)
        return
    rounds = 1 if options.quick else options.rounds
    flags = ["--device", options.device, *(["--quick"] if options.quick else [])]
    print(f"{harness.machine(options.device)}; {len(paths)} pictures")
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(rounds):
        for variant, times in seconds.items():
            found = harness.worker(__file__, [variant, *flags])
            times.append(found["seconds"])
            first = f" (first pass {found['first']:.1f} s)" if "first" in found else ""
            print(f"{variant}: an epoch {times[-1]:.4f} s{first}", flush=True)
    middle, lowest, highest = harness.median_ratio(seconds["plain"], seconds["ours"])
    print(f"ratios {lowest:.0f} to {highest:.0f} in {rounds} rounds")
    harness.report({"head_epoch": middle}, options.json)


def worker(options: argparse.Namespace, paths: list[Path]) -> None:
    """One variant in this process; prints its seconds."""
    from xfer.device import find_device

    seconds = 0.0 if options.quick else 5.0
    if options.worker == ["plain"]:
        taken = plain_epoch(paths, find_device(options.device), seconds)
        print(json.dumps({"seconds": taken}))
    else:
        taken, first = our_epoch(paths, options.device, seconds)
        print(json.dumps({"seconds": taken, "first": first}))


if __name__ == "__main__":
    main()
