"""The default detector on few large objects of one class, beside torchvision's own, trained simply.

The sets are `large` and `white` of cut_sets.py, each cut in three ways: about 100 pictures to
train on, 51 and 72 to score. Both start from AlexNet's published convolutions, and are scored once,
by COCO's figures, with their last weights.

default      detect/default, with `--set` for other values
torchvision  FasterRCNN on conv5 (RoIAlign 7, two layers of 1024 units), anchors of 32 to 256 px in
             three shapes, nothing frozen, SGD 5e-3 one-cycle, two pictures per step, mirror images

    python benchmarks/large_objects.py --folds 0 1 --nets default torchvision --json out.json
    python benchmarks/large_objects.py --nets default --set optim.ema=0 --size 320 --steps 600

--size and --steps shorten both alike; as they are, the default runs for its own 1,500 steps and
torchvision for 960, at 480 px.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cut_sets import comparison, cut_large, cut_white

BATCH = 2
SETS: dict[str, Callable[[Path, Path, int], str]] = {
    "large": lambda data, out, fold: f"coco:{cut_large(data, out, fold)}",
    "white": lambda data, out, fold: f"voc:{cut_white(data, out, fold)}",
}


def torchvision_net(weights: Path, size: int) -> Any:
    import numpy as np
    import torch
    from torch import nn
    from torchvision.models import alexnet
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    trunk = nn.Sequential(*list(alexnet().features)[:-1])
    found = np.load(weights)
    trunk.load_state_dict(
        {k.removeprefix("features."): torch.from_numpy(found[k]) for k in found.files}
    )
    trunk.out_channels = 256  # pyright: ignore[reportArgumentType]
    sides = tuple(round(side * size / 480) for side in (32, 64, 128, 256))
    return FasterRCNN(
        trunk, 2, min_size=size, max_size=round(size * 4 / 3),
        rpn_anchor_generator=AnchorGenerator((sides,), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
    )  # fmt: skip


def torchvision_scores(
    spec: str, weights: Path, seed: int, size: int, steps: int, bf16: bool
) -> dict[str, Any]:
    """torchvision's net, trained and scored; `bf16`: convolutions and products of training."""
    import numpy as np
    import torch

    from xfer.data.open import open_data
    from xfer.kinds.annotation import boxes_of
    from xfer.metrics.detection import DetectionAP
    from xfer.types import Batch, BoxPrediction

    data = open_data(spec, train="train", val="none", test="val", kind=("detect",))
    train, test = data.splits["train"], data.splits["test"]
    torch.manual_seed(seed)
    net = torchvision_net(weights, size).train()
    optimizer = torch.optim.SGD(net.parameters(), 5e-3, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    order: list[int] = []
    for _ in range(steps):
        images: list[Any] = []
        targets: list[Any] = []
        if len(order) < BATCH:
            order = torch.randperm(len(train)).tolist()
        for i in (order.pop() for _ in range(BATCH)):
            sample = train[i]
            assert sample.boxes is not None
            image, boxes = sample.image, sample.boxes.xyxy.astype(np.float32)
            if torch.rand(()) < 0.5:
                image = image[:, ::-1]
                boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
            images.append(torch.from_numpy(image.copy()).permute(2, 0, 1) / 255)
            labels = torch.from_numpy(sample.boxes.labels) + 1
            targets.append({"boxes": torch.from_numpy(boxes), "labels": labels})
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = sum(net(images, targets).values())
        optimizer.zero_grad()
        loss.backward()  # pyright: ignore[reportAttributeAccessIssue]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    net.eval()
    metric = DetectionAP(data.classes)
    with torch.inference_mode():
        for i in range(len(test)):
            sample = test[i]
            output = net([torch.from_numpy(sample.image.copy()).permute(2, 0, 1) / 255])[0]
            found = BoxPrediction(
                sample.id, output["boxes"].numpy(), output["scores"].numpy(),
                output["labels"].numpy().astype(np.int64) - 1, sample.image.shape[:2],
            )  # fmt: skip
            known = {"annotations": [boxes_of(sample)]}
            metric.update([found], Batch(torch.zeros(1, 3, 1, 1).byte(), (sample.id,), known))
    return metric.compute()


def default_scores(
    task: str, spec: str, weights: Path, seed: int, changes: dict[str, Any]
) -> dict[str, Any]:
    """The test scores of the task's default recipe."""
    import xfer

    with tempfile.TemporaryDirectory() as folder:
        run = xfer.finetune(
            spec, task, recipe=f"{task}/default", out=Path(folder) / "run", verbosity=-1,
            backbone="alexnet", weights=str(weights), seed=seed, train="train", val="none",
            test="val", **{"run.plots": False, "run.report": False, **changes},
        )  # fmt: skip
        return run.result["test_metrics"]


def settings(words: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE words as values by key."""

    def value(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {key: value(text) for key, text in (one.split("=", 1) for one in words)}


def main() -> None:
    parser: argparse.ArgumentParser = comparison(__doc__ or "", ["default"], ["large"])
    parser.add_argument("--nets", nargs="+", default=["default", "torchvision"])
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1], help="also the seeds")
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="key=value, for the default")
    parser.add_argument("--fp32", action="store_true", help="torchvision in fp32")
    args = parser.parse_args()
    data = args.data.absolute()
    weights = data / "weights" / "alexnet_torchvision_features" / "features.npz"
    changes = {"data.size": args.size, "schedule.steps": args.steps, **settings(args.set)}
    rows: dict[str, Any] = {}
    for fold in args.folds:
        for which, net in itertools.product(args.sets, args.nets):
            with tempfile.TemporaryDirectory() as folder:
                spec = SETS[which](data, Path(folder), fold)
                start = time.perf_counter()
                if net == "default":
                    scores = default_scores("detect", spec, weights, fold, changes)
                else:
                    steps = args.steps or 960
                    scores = torchvision_scores(
                        spec, weights, fold, args.size, steps, not args.fp32
                    )
            seconds = round(time.perf_counter() - start, 1)
            key = f"{which} {net} {' '.join(args.set) if net == 'default' else ''} / fold {fold}"
            rows[key] = {k: scores[k] for k in ("coco_ap50", "coco_ap", "coco_ap75")}
            figures = " | ".join(f"{v:.3f}" for v in rows[key].values())
            print(f"| {key} | {figures} | {seconds} s |", flush=True)
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
