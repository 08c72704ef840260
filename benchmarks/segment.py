"""CamVid from AlexNet's convolutions: a plain torch FCN head against segment/default.

plain  torchvision's AlexNet up to conv5 (stride 16) and torchvision's FCNHead on it, fp32, trained
       as in torchvision's references/segmentation: SGD 0.01, momentum 0.9, weight decay 1e-4, rate
       falling to zero by a power of 0.9; pictures scaled by 0.5 to 2, cut to 352 px, mirrored;
       batches of 8, 30 epochs, PIL and a DataLoader with two workers; scored whole, one view
ours   xfer finetune --task segment --epochs 32: a picture takes 0.83 of plain's CPU time (one core,
       no AMX); the time includes scoring on val and mirrored views
full   with --full: the recipe unchanged, 40 epochs; it takes longer, so it is not compared

All start from the same weights, train on the train split and are scored once on the test split, in
the pictures' own size; seconds are for the whole process. --quick: 16 pictures and one epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

EPOCHS, BATCH, CROP, CLASSES = 30, 8, 352, 11
OURS = 32  # epochs for which the default recipe takes no longer than plain
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pairs:
    """CamVid's pictures and masks, as users of torchvision read and augment them."""

    def __init__(self, root: Path, split: str, train: bool, limit: int) -> None:
        self.files = sorted((root / "images" / split).glob("*.jpg"))[: limit or None]
        self.masks, self.train = root / "masks" / split, train

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        import torch
        from PIL import Image
        from torchvision.transforms import functional as T

        image: Any = Image.open(self.files[i]).convert("RGB")
        mask: Any = Image.open(self.masks / f"{self.files[i].stem}.png")
        if self.train:
            scale = random.uniform(0.5, 2.0)
            size = [round(image.height * scale), round(image.width * scale)]
            image = T.resize(image, size)
            mask = T.resize(mask, size, T.InterpolationMode.NEAREST)
            if random.random() < 0.5:
                image, mask = T.hflip(image), T.hflip(mask)
            right, below = max(0, CROP - image.width), max(0, CROP - image.height)
            image = T.pad(image, [0, 0, right, below])
            mask = T.pad(mask, [0, 0, right, below], fill=CLASSES)  # 11 means unlabelled
            top = random.randint(0, image.height - CROP)
            left = random.randint(0, image.width - CROP)
            image, mask = (T.crop(x, top, left, CROP, CROP) for x in (image, mask))
        pixels = T.normalize(T.to_tensor(image), list(MEAN), list(STD))
        return pixels, T.pil_to_tensor(mask)[0].to(torch.int64)


def plain(root: Path, weights: Path, limit: int, epochs: int) -> float:
    """Test mIoU of the plain loop."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision.models import alexnet
    from torchvision.models.segmentation.fcn import FCNHead

    from xfer.metrics.miou import MeanIoU

    torch.manual_seed(0)
    random.seed(0)
    trunk = alexnet().features[:12]
    with np.load(weights) as arrays:
        own = {k.removeprefix("features."): torch.from_numpy(arrays[k]) for k in arrays.files}
    trunk.load_state_dict(own)
    net = nn.Sequential(trunk, FCNHead(256, CLASSES))
    data: Any = Pairs(root, "train", True, limit)
    loader = DataLoader(data, BATCH, True, num_workers=2, drop_last=True, persistent_workers=True)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    steps = epochs * len(loader)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: max(0, 1 - k / steps) ** 0.9)
    for _ in range(epochs):
        for images, labels in loader:
            logits = F.interpolate(net(images), labels.shape[1:], mode="bilinear")
            loss = F.cross_entropy(logits, labels, ignore_index=CLASSES)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    net.eval()
    metric = MeanIoU([str(c) for c in range(CLASSES)])
    test = Pairs(root, "test", False, limit)
    with torch.no_grad():
        for i in range(len(test)):
            image, labels = test[i]
            logits = F.interpolate(net(image[None]), labels.shape, mode="bilinear")
            labels[labels == CLASSES] = 255
            metric.add(logits.argmax(1)[0].byte().numpy(), labels.byte().numpy(), str(i))
    return metric.compute()["miou"]


def ours(root: Path, weights: Path, limit: int, epochs: int) -> float:
    """Test mIoU of the default recipe; epochs 0: its own."""
    import xfer

    settings: dict[str, Any] = {"limit": limit} if limit else {}
    if epochs:
        settings["epochs"] = epochs
    with tempfile.TemporaryDirectory() as folder:
        run = xfer.finetune(
            str(root), "segment", out=Path(folder) / "run", backbone="alexnet",
            weights=str(weights), verbosity=-1, **settings,
        )  # fmt: skip
        return run.result["test_metrics"]["miou"]


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=1)
    default = os.environ.get("XFER_TEST_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="the shared pictures")
    parser.add_argument("--epochs", type=int, default=OURS, help="of ours")
    parser.add_argument("--full", action="store_true", help="also run the recipe's own length")
    parser.add_argument("--worker", nargs=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    root = options.data / "camvid"
    weights = options.data / "weights" / "alexnet_torchvision_features" / "features.npz"
    if not root.is_dir() or not weights.is_file():
        raise SystemExit(f"{root} or {weights} is missing: --data FOLDER, or XFER_TEST_DATA")
    lengths = {"plain": EPOCHS, "ours": options.epochs, "full": 0}
    if options.worker:
        start = time.perf_counter()
        variant = options.worker[0]
        call = plain if variant == "plain" else ours
        limit, epochs = (16, 1) if options.quick else (0, lengths[variant])
        miou = call(root, weights, limit, epochs)
        print(json.dumps({"miou": miou, "seconds": time.perf_counter() - start}))
        return
    print(harness.machine("cpu"))
    flags = ["--data", str(options.data), "--epochs", str(options.epochs)]
    flags += ["--quick"] if options.quick else []
    found: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
    if options.full:
        found["full"] = []
    for _ in range(1 if options.quick else options.rounds):
        for variant, runs in found.items():
            runs.append(harness.worker(__file__, [variant, *flags]))
            print(f"{variant}: test mIoU {runs[-1]['miou']:.4f}, {runs[-1]['seconds']:.0f} s")
    seconds = {variant: [run["seconds"] for run in runs] for variant, runs in found.items()}
    middle = harness.median_ratio(seconds["ours"], seconds["plain"])[0]
    mean = {v: sum(run["miou"] for run in runs) / len(runs) for v, runs in found.items()}
    results = {"miou": mean["ours"], "plain_miou": mean["plain"], "seconds_ratio": middle}
    if options.full:
        results["full_miou"] = mean["full"]
        results["full_seconds_ratio"] = harness.median_ratio(seconds["full"], seconds["plain"])[0]
    harness.report(results, options.json)


if __name__ == "__main__":
    main()
