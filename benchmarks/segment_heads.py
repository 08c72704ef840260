"""Segmentation heads compared: variants x sets, AlexNet's convolutions, equal steps.

Sets: CamVid, scored on its test split; cocomasks, which cut_sets.py cuts from coco-mini: persons,
animals, vehicles and the rest; people: persons and the rest in the same pictures, uncut, 100 in
train and 100 in val; and shapes, also from cut_sets.py: two classes, thin curves, 136 pictures in
train, scored on its test split. Each run keeps its last weights.

    python benchmarks/segment_heads.py --steps 460 --json out.json

--quick: 16 pictures of each set, two steps.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cut_sets import comparison, cut_cocomasks, cut_shapes

VARIANTS: dict[str, dict[str, Any]] = {
    "fcn32s": {"task.head": "fcn32s"},
    "fcn16s": {"task.head": "fcn16s"},
    "fcn8s": {"task.head": "fcn8s"},
    "default": {},
    "no class weights": {"task.class_balance": 0},
    "weaker class weights": {"task.class_balance": 0.25},
    "weights not undone": {"task.logit_adjust": 0},
    "loss at every pixel": {"task.loss_step": 1},
    "dice": {"task.dice": 0.5},
    "hard pixels": {"task.hard_pixels": 0.3},
    "dilated to stride 8": {"task.dilate": 8},
    "larger steps": {"optim.lr": 3e-4},
    "mixed cuts": {"task.most_of_one": 0.75},
    "narrow": {"task.width": 64},
}


def people(data: Path, out: Path) -> Path:
    """Writes coco-mini's pictures with masks of two classes: persons and the rest."""
    import numpy as np
    from PIL import Image
    from pycocotools.coco import COCO

    from xfer.data.readers.coco.polygons import render

    for split, year in (("train", "train2017"), ("val", "val2017")):
        for kind in ("images", "masks"):
            (out / kind / split).mkdir(parents=True, exist_ok=True)
        coco = COCO(str(data / "coco-mini" / "annotations" / f"instances_{year}.json"))
        for entry in coco.loadImgs(coco.getImgIds()):
            mask = np.zeros((entry["height"], entry["width"]), np.uint8)
            for item in coco.loadAnns(coco.getAnnIds(entry["id"], coco.getCatIds(["person"]))):
                pixels = render(item["segmentation"], *mask.shape)
                mask[pixels] = 255 if item["iscrowd"] else 1
            name = entry["file_name"]
            (out / "images" / split / name).symlink_to(data / "coco-mini" / year / name)
            Image.fromarray(mask).save(out / "masks" / split / f"{Path(name).stem}.png")
    (out / "classes.txt").write_text("0 background\n1 person\n")
    return out


SETS: dict[str, Callable[[Path, Path], Path]] = {
    "camvid": lambda data, _: data / "camvid",
    "cocomasks": cut_cocomasks,
    "people": people,
    "shapes": cut_shapes,
}
SCORED = {"cocomasks": "val", "people": "val"}  # the others have a test split


def main() -> None:
    parser = comparison(__doc__ or "", list(VARIANTS), list(SETS))
    parser.add_argument(
        "--steps", type=int, default=460, help="steps of 8 pictures (default: 10 epochs of CamVid)"
    )
    parser.add_argument("--quick", action="store_true", help="16 pictures, two steps")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    import xfer

    weights = args.data.absolute() / "weights" / "alexnet_torchvision_features" / "features.npz"
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in args.sets:
            root = SETS[name](args.data.absolute(), folder / name)
            for variant in args.variants:
                start = time.perf_counter()
                run = xfer.finetune(
                    str(root), "segment", out=folder / "run", overwrite=True, verbosity=-1,
                    weights=str(weights), seed=args.seed, limit=16 if args.quick else 0,
                    **{"run.plots": False, "schedule.steps": 2 if args.quick else args.steps,
                       "data.val": "none", "data.test": SCORED.get(name, "test"),
                       **VARIANTS[variant]},
                )  # fmt: skip
                scores = run.result["test_metrics"]
                rows[f"{variant} / {name}"] = {
                    "miou": scores["miou"],
                    "train_seconds": run.result["seconds"],
                    "seconds": round(time.perf_counter() - start, 1),
                    "per_class": {k: v["iou"] for k, v in scores["per_class"].items()},
                }
                each = " ".join(f"{v['iou']:.2f}" for v in scores["per_class"].values())
                print(f"| {variant} | {name} | {scores['miou']:.3f} | {each} | "
                      f"{run.result['seconds']:.0f} s |", flush=True)  # fmt: skip
                if args.json:
                    args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
