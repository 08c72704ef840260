"""A detector's train step and inference: ours against torchvision's Faster R-CNN.

torchvision  FasterRCNN on the features of its own AlexNet (stride 16), RoIAlign 7, TwoMLPHead;
             fp32, torch.optim.SGD with its defaults, the default allocator
ours         the task detect with the same map, pooling, head width, anchors, proposals and
             regions; in fp32, and as `--precision auto` chooses (bf16 if the processor has it)

Both use the same pictures (480 x 640, 15 boxes each) and have conv1 frozen. A train step goes from
uint8 pictures and boxes on the device to updated weights, two pictures per batch; inference goes
from four uint8 pictures to suppressed boxes, 300 regions each. Both are trained for some steps on
the pictures first, so that scores differ. Ratios are torchvision's seconds over ours: larger means
we are faster. --accuracy also trains both to the end on BCCD (from XFER_TEST_DATA) and scores
them.
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

HEIGHT, WIDTH, BOXES, CLASSES = 480, 640, 15, 3
TRAIN_BATCH, TEST_BATCH = 2, 4
ANCHORS = (32, 32, 45, 32, 32, 45, 90, 90, 128, 90, 90, 128, 200, 200, 280, 200, 200, 280)
OPTIONS: dict[str, Any] = {
    "levels": ["conv5"], "pool": "align", "head": "fc", "head_width": 1024, "regions": 128,
    "rpn_train": [2000, 1000], "rpn_test": [1000, 300], "rpn_width": 256, "rpn_batch": 256,
    "anchors": list(ANCHORS), "nms": 0.3, "least_score": 0.05,
    # enough overlapping proposals that both nets keep all 300
    "rpn_nms": 0.9,
}  # fmt: skip
WARM_STEPS = 12
VARIANTS = ("torchvision", "fp32", "auto")


def pictures(count: int, seed: int = 0) -> list[tuple[Any, Any, Any]]:
    """(uint8 (H, W, 3), boxes (BOXES, 4), labels): coloured squares on noise."""
    import numpy as np

    rng = np.random.default_rng(seed)
    samples: list[tuple[Any, Any, Any]] = []
    for _ in range(count):
        image = rng.integers(60, 190, (HEIGHT, WIDTH, 3), np.uint8)
        side = rng.uniform(30, 220, (BOXES, 2))
        corner = rng.uniform(0, 1, (BOXES, 2)) * ([WIDTH, HEIGHT] - side)
        boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
        labels = rng.integers(0, CLASSES, BOXES)
        for (x1, y1, x2, y2), label in zip(boxes.astype(int), labels, strict=True):
            image[y1:y2, x1:x2, label] = 230
        samples.append((image, boxes, labels))
    return samples


def torchvision_net(classes: int = CLASSES, weights: str = "") -> Any:
    """torchvision's FasterRCNN with OPTIONS on its own AlexNet, without the last pooling."""
    import numpy as np
    import torch
    from torch import nn
    from torchvision.models import alexnet
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    trunk = nn.Sequential(*list(alexnet().features)[:-1])
    if weights:
        found = np.load(weights)
        trunk.load_state_dict(
            {k.removeprefix("features."): torch.from_numpy(found[k]) for k in found.files}
        )
    trunk.out_channels = 256  # pyright: ignore[reportArgumentType]
    trunk[0].requires_grad_(False)
    sizes = torch.tensor(ANCHORS).view(-1, 2).float()
    generator = AnchorGenerator(((32,),), ((1.0,) * len(sizes),))
    generator.cell_anchors = [torch.cat([-sizes, sizes], 1) / 2]
    generator.num_anchors_per_location = lambda: [len(sizes)]
    train, test = OPTIONS["rpn_train"], OPTIONS["rpn_test"]
    return FasterRCNN(
        trunk, classes + 1, min_size=HEIGHT, max_size=round(HEIGHT * 5 / 3),
        rpn_anchor_generator=generator, rpn_pre_nms_top_n_train=train[0],
        rpn_post_nms_top_n_train=train[1], rpn_pre_nms_top_n_test=test[0],
        rpn_post_nms_top_n_test=test[1], rpn_nms_thresh=OPTIONS["rpn_nms"],
        box_batch_size_per_image=OPTIONS["regions"],
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2), box_nms_thresh=OPTIONS["nms"],
        box_score_thresh=OPTIONS["least_score"],
    )  # fmt: skip


def their_calls(device: str) -> tuple[Callable[[], Any], Callable[[], Any], Any]:
    """torchvision's (train step, inference, place)."""
    import torch

    from xfer.device import Place, find_device

    place = Place(find_device(device))
    torch.manual_seed(0)
    net = torchvision_net().to(place.device)
    optimizer = torch.optim.SGD(
        [p for p in net.parameters() if p.requires_grad], 5e-3, momentum=0.9, weight_decay=5e-4
    )
    samples = pictures(TEST_BATCH)
    images = [torch.from_numpy(s[0]).permute(2, 0, 1).contiguous() for s in samples]
    images = [image.to(place.device) for image in images]
    targets = [
        {"boxes": torch.from_numpy(s[1]).to(place.device),
         "labels": torch.from_numpy(s[2]).to(place.device) + 1}
        for s in samples
    ]  # fmt: skip

    def step() -> None:
        net.train()
        losses = net([i / 255 for i in images[:TRAIN_BATCH]], targets[:TRAIN_BATCH])
        optimizer.zero_grad()
        sum(losses.values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.step()

    def infer() -> None:
        net.eval()
        with torch.inference_mode():
            net([i / 255 for i in images])

    return step, infer, place


def our_calls(place: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The task detect's (train step, inference)."""
    import numpy as np
    import torch

    from xfer import task as tasks
    from xfer.backbones.build import create_backbone
    from xfer.boxes import Boxes
    from xfer.recipe.tables import DataTable, OptimTable
    from xfer.train.optim import build_optimizer, frozen_stages, parameter_groups
    from xfer.types import DataInfo, Sample

    torch.manual_seed(0)
    kind = tasks.get("detect")
    info = DataInfo("squares", "detect", tuple("abc"))
    options, data = tasks.make_options(kind, OPTIONS), DataTable(size=HEIGHT)
    task = kind(create_backbone("alexnet"), info, options, data)
    place.put(task)
    table = OptimTable(name="sgd", lr=5e-3, head_scale=1, weight_decay=5e-4, freeze="conv1")
    task.freeze([s.module for s in frozen_stages(task.stages(), table.freeze)])
    optimizer = build_optimizer(parameter_groups(task, table), table)
    samples = [
        Sample(str(i), image, boxes=Boxes.of(boxes, labels))
        for i, (image, boxes, labels) in enumerate(pictures(TEST_BATCH))
    ]
    unused = np.random.default_rng(0)
    items = [task.transform(False)(sample, unused) for sample in samples]
    small = task.collate(items[:TRAIN_BATCH]).to(place.device)
    large = task.collate(items).to(place.device)

    def step() -> None:
        task.train()
        with place.autocast():
            loss = torch.stack(list(task(small).values())).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def infer() -> None:
        task.eval()
        with torch.inference_mode(), place.autocast():
            task.predict(large)

    return step, infer


def work(options: argparse.Namespace) -> None:
    """One variant, in this process; prints its seconds per train step and inference."""
    from xfer.device import placed

    min_calls, seconds = (1, 0.0) if options.quick else (4, 6.0)

    def timed(step: Callable[[], Any], infer: Callable[[], Any], place: Any) -> dict[str, Any]:
        for _ in range(2 if options.quick else WARM_STEPS):
            step()
        return {
            "train_step": harness.seconds_per_call(step, place.synchronise, min_calls, seconds),
            "inference": harness.seconds_per_call(infer, place.synchronise, min_calls, seconds),
            "precision": place.precision,
        }

    if options.worker[0] == "torchvision":
        step, infer, place = their_calls(options.device)
        found = timed(step, infer, place)
    else:
        with placed(options.device, options.worker[0]) as place:
            found = timed(*our_calls(place), place)
    print(json.dumps(found))


def accuracy_of_torchvision(bccd: Path, weights: Path) -> dict[str, float]:
    """torchvision's net, trained simply: 12 epochs, SGD 5e-3, one-cycle, mirror images, fp32."""
    import numpy as np
    import torch

    from xfer.data.open import open_data
    from xfer.kinds.annotation import boxes_of
    from xfer.metrics.detection import DetectionAP
    from xfer.types import Batch, BoxPrediction

    data = open_data(f"voc:{bccd}", train="trainval", val="none", test="test", kind=("detect",))
    torch.manual_seed(0)
    net = torchvision_net(len(data.classes), str(weights)).train()
    train, test = data.splits["train"], data.splits["test"]
    epochs, steps = 12, len(train) // TRAIN_BATCH
    optimizer = torch.optim.SGD(
        [p for p in net.parameters() if p.requires_grad], 5e-3, momentum=0.9, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, epochs * steps)
    start = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(train)).tolist()
        for k in range(steps):
            images: list[Any] = []
            targets: list[Any] = []
            for i in order[TRAIN_BATCH * k : TRAIN_BATCH * (k + 1)]:
                sample = train[i]
                assert sample.boxes is not None
                image, boxes = sample.image, sample.boxes.xyxy.copy()
                if torch.rand(()) < 0.5:
                    image = image[:, ::-1]
                    boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
                images.append(torch.from_numpy(image.copy()).permute(2, 0, 1) / 255)
                labels = torch.from_numpy(sample.boxes.labels) + 1
                targets.append({"boxes": torch.from_numpy(boxes), "labels": labels})
            loss = sum(net(images, targets).values())
            optimizer.zero_grad()
            loss.backward()  # pyright: ignore[reportAttributeAccessIssue]
            optimizer.step()
            schedule.step()
    seconds = time.perf_counter() - start
    net.eval()
    metric = DetectionAP(data.classes, "voc_ap50_area")
    with torch.inference_mode():
        for i in range(len(test)):
            sample = test[i]
            output = net([torch.from_numpy(sample.image).permute(2, 0, 1) / 255])[0]
            height, width = sample.image.shape[:2]
            found = BoxPrediction(
                sample.id, output["boxes"].numpy(), output["scores"].numpy(),
                output["labels"].numpy().astype(np.int64) - 1, (height, width),
            )  # fmt: skip
            known = {"annotations": [boxes_of(sample)]}
            metric.update([found], Batch(torch.zeros(1, 3, 1, 1).byte(), (sample.id,), known))
    return {"voc_ap50_area": metric.compute()["voc_ap50_area"], "seconds": seconds}


def accuracy_of_ours(bccd: Path, weights: Path) -> dict[str, float]:
    """The default recipe, as in `xfer finetune --task detect`."""
    from xfer.api import finetune

    with tempfile.TemporaryDirectory() as folder:
        done = finetune(
            f"voc:{bccd}", "detect", out=Path(folder) / "run", backbone="alexnet",
            weights=str(weights), train="trainval", val="none", test="test", verbosity=-1,
        )  # fmt: skip
        result = done.result
    return {"voc_ap50_area": result["test_metrics"]["voc_ap50_area"], "seconds": result["seconds"]}


def measure_accuracy(variant: str) -> None:
    """Trains one of the two on BCCD, in this process; prints its score and seconds."""
    root = Path(os.environ.get("XFER_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    given = root / "bccd", root / "weights" / "alexnet_torchvision_features" / "features.npz"
    for path in given:
        if not path.exists():
            raise SystemExit(f"{path} is missing: set XFER_TEST_DATA")
    run = accuracy_of_torchvision if variant == "torchvision" else accuracy_of_ours
    print(json.dumps(run(*given)))


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=5)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (%(default)s)")
    parser.add_argument("--accuracy", action="store_true", help="also train both on BCCD: slow")
    parser.add_argument("--worker", nargs=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        if options.accuracy:
            measure_accuracy(options.worker[0])
        else:
            work(options)
        return
    rounds = 1 if options.quick else options.rounds
    flags = ["--device", options.device, *(["--quick"] if options.quick else [])]
    print(harness.machine(options.device))
    seconds: dict[str, dict[str, list[float]]] = {
        what: {variant: [] for variant in VARIANTS} for what in ("train_step", "inference")
    }
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for variant in VARIANTS:
            found = harness.worker(__file__, [variant, *flags])
            for what, times in seconds.items():
                times[variant].append(found[what])
            if variant == "auto":
                results["precision"] = found["precision"]
        for what, times in seconds.items():
            summary = ", ".join(f"{v} {1000 * t[-1]:.0f} ms" for v, t in times.items())
            print(f"{what}: {summary}", flush=True)
    for what, times in seconds.items():
        for variant, key in (("auto", what), ("fp32", f"{what}_fp32")):
            middle, lowest, highest = harness.median_ratio(times["torchvision"], times[variant])
            results[key] = middle
            print(f"{key}: ratios {lowest:.2f} to {highest:.2f} in {rounds} rounds")
    if options.accuracy:
        for variant in ("torchvision", "ours"):
            found = harness.worker(__file__, [variant, "--accuracy"])
            results |= {f"{variant}_{key}": value for key, value in found.items()}
    harness.report(results, options.json)


if __name__ == "__main__":
    main()
