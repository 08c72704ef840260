"""The default of `--task instance`, beside torchvision's Mask R-CNN, trained simply.

The set is `outlined` of cut_sets.py, cut in three ways: 85 pictures to train on, 43 to score. Both
start from AlexNet's published convolutions and are scored once, by COCO's figures, with their last
weights.

default      instance/default, with `--set` for other values
torchvision  MaskRCNN on a pyramid of conv2, conv5 and pooled conv5 (stride 8, 16, 32) with 128
             channels, nothing frozen, SGD 1e-2 one-cycle, two pictures per step, mirror images,
             400 px, 612 steps, bf16

    python benchmarks/instances.py --folds 0 1 --nets default torchvision --json out.json
    python benchmarks/instances.py --nets default --set optim.lr=1e-2
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from cut_sets import comparison, cut_outlined
from large_objects import default_scores, settings

BATCH = 2


def torchvision_net(weights: Path, size: int) -> Any:
    import numpy as np
    import torch
    from torch import nn
    from torchvision.models import alexnet
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

    features = alexnet().features
    found = np.load(weights)
    features.load_state_dict(
        {k.removeprefix("features."): torch.from_numpy(found[k]) for k in found.files}
    )

    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.deep = features[:5], features[5:12]
            self.merge = FeaturePyramidNetwork([192, 256], 128)
            self.out_channels = 128

        def forward(self, x: Any) -> dict[str, Any]:
            fine = self.fine(x)
            maps = self.merge({"0": fine, "1": self.deep(fine)})
            maps["2"] = nn.functional.max_pool2d(maps["1"], 1, 2)
            return maps

    sides = ((32,), (96,), (224,))
    levels = ["0", "1", "2"]
    return MaskRCNN(
        Pyramid(), 2, min_size=size, max_size=round(size * 4 / 3),
        rpn_anchor_generator=AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * 3),
        box_roi_pool=MultiScaleRoIAlign(levels, 7, 2),
        mask_roi_pool=MultiScaleRoIAlign(levels, 14, 2),
    )  # fmt: skip


def torchvision_scores(
    spec: str, weights: Path, seed: int, size: int, steps: int
) -> dict[str, Any]:
    """torchvision's net, trained and scored by InstanceAP."""
    import numpy as np
    import torch

    from xfer.data.open import open_data
    from xfer.kinds.annotation import boxes_of
    from xfer.metrics.instances import InstanceAP
    from xfer.objects.mask import as_column
    from xfer.objects.rle import encode
    from xfer.types import Batch, InstancePrediction

    data = open_data(spec, train="train", val="none", test="val", kind=("instance",))
    train, test = data.splits["train"], data.splits["test"]
    torch.manual_seed(seed)
    net = torchvision_net(weights, size).train()
    optimizer = torch.optim.SGD(net.parameters(), 1e-2, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    order: list[int] = []
    for _ in range(steps):
        images: list[Any] = []
        targets: list[Any] = []
        if len(order) < BATCH:
            order = torch.randperm(len(train)).tolist()
        for i in (order.pop() for _ in range(BATCH)):
            sample = train[i]
            assert sample.boxes is not None and sample.boxes.masks is not None
            image, boxes = sample.image, sample.boxes.xyxy.astype(np.float32)
            masks = np.stack([one.pixels() for one in sample.boxes.masks])
            if torch.rand(()) < 0.5:
                image, masks = image[:, ::-1], masks[:, :, ::-1]
                boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
            images.append(torch.from_numpy(image.copy()).permute(2, 0, 1) / 255)
            labels = torch.from_numpy(sample.boxes.labels) + 1
            outlines = torch.from_numpy(masks.copy()).byte()
            targets.append({"boxes": torch.from_numpy(boxes), "labels": labels, "masks": outlines})
        with torch.autocast("cpu", torch.bfloat16):
            loss = sum(net(images, targets).values())
        optimizer.zero_grad()
        loss.backward()  # pyright: ignore[reportAttributeAccessIssue]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    net.eval()
    metric = InstanceAP(data.classes, "coco_mask_ap")
    with torch.inference_mode():
        for i in range(len(test)):
            sample = test[i]
            output = net([torch.from_numpy(sample.image.copy()).permute(2, 0, 1) / 255])[0]
            size_ = sample.image.shape[:2]
            found = InstancePrediction(
                sample.id, output["boxes"].numpy(), output["scores"].numpy(),
                output["labels"].numpy().astype(np.int64) - 1, size_,
                as_column([encode(one[0].numpy() > 0.5) for one in output["masks"]]),
            )  # fmt: skip
            known = {"annotations": [boxes_of(sample)]}
            metric.update([found], Batch(torch.zeros(1, 3, 1, 1).byte(), (sample.id,), known))
    return metric.compute()


def main() -> None:
    parser: argparse.ArgumentParser = comparison(__doc__ or "", ["default"], ["outlined"])
    parser.add_argument("--nets", nargs="+", default=["default", "torchvision"])
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1], help="also the seeds")
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--steps", type=int, default=612, help="of torchvision's")
    parser.add_argument("--set", nargs="*", default=[], help="key=value, for the default")
    args = parser.parse_args()
    data = args.data.absolute()
    weights = data / "weights" / "alexnet_torchvision_features" / "features.npz"
    changes = settings(args.set)
    rows: dict[str, Any] = {}
    for fold in args.folds:
        for net in args.nets:
            with tempfile.TemporaryDirectory() as folder:
                spec = f"coco:{cut_outlined(data, Path(folder), fold)}"
                start = time.perf_counter()
                if net == "default":
                    scores = default_scores("instance", spec, weights, fold, changes)
                else:
                    scores = torchvision_scores(spec, weights, fold, args.size, args.steps)
            seconds = round(time.perf_counter() - start, 1)
            key = f"{net} {' '.join(args.set) if net == 'default' else ''} / fold {fold}"
            names = ("coco_mask_ap50", "coco_mask_ap", "coco_mask_ap75", "coco_ap50")
            rows[key] = {k: scores[k] for k in names}
            figures = " | ".join(f"{v:.3f}" for v in rows[key].values())
            print(f"| {key} | {figures} | {seconds} s |", flush=True)
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
