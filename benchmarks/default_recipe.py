"""Which settings the default classification recipe should have: variants x sets x seeds.

Sets: hymenoptera as it is, and two cut here from other data, so that no one set decides:
tiny10 (10 classes of Tiny-ImageNet, 40 training pictures each, 64 px) and cococrops (objects of
COCO cut out by their boxes, 7 supercategories, unbalanced). All on AlexNet's convolutions; trained
on train alone, the last weights scored once on val.

    python benchmarks/default_recipe.py --variants default sgd --seeds 3 --json out.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "lr 1e-4, head x10": {"optim.lr": 1e-4, "optim.head_scale": 10},
    "lr 3e-4, head x3": {"optim.lr": 3e-4, "optim.head_scale": 3.3},
    "conv1-2 frozen": {"optim.freeze": "conv2"},
    "no EMA, no flip at test": {"optim.ema": 0, "eval.tta": "none"},
    "no colour changes": {"data.augment": "light"},
    "10 crops at test": {"eval.tta": "10crop"},
    "crops from 0.2": {"data.crop_area": [0.2, 1.0]},
    "strong augmentation": {"data.augment": "strong"},
    "average head": {"task.head": "avg"},
    "head alone": {"optim.freeze": "all"},
    "sgd": {"optim.name": "sgd", "optim.lr": 2e-3, "optim.weight_decay": 1e-3},
}


def cut_tiny10(data: Path, out: Path) -> Path:
    """10 classes of Tiny-ImageNet: 40 pictures each to train on, 50 to test."""
    import numpy as np

    chosen = sorted(np.random.default_rng(0).choice(100, 10, replace=False).tolist())
    for split, most in (("train", 40), ("val", 50)):
        packed = np.load(data / "tiny-imagenet-100" / f"{split}.npz")
        header, bytes_, offsets = (
            bytes(packed["header"]),
            packed["data"].tobytes(),
            packed["offsets"],
        )
        for c in chosen:
            folder = out / split / f"class{c:03d}"
            folder.mkdir(parents=True)
            for i in np.flatnonzero(packed["labels"] == c)[:most]:
                jpeg = header + bytes_[offsets[i] : offsets[i + 1]]
                (folder / f"{i}.jpg").write_bytes(jpeg)
    return out


def cut_cococrops(data: Path, out: Path) -> Path:
    """Objects of COCO of at least 40 px, with a tenth of their size around them."""
    from PIL import Image

    root = data / "coco-mini"
    kept: list[str] = []
    for split in ("train", "val"):
        found = json.loads((root / "annotations" / f"instances_{split}2017.json").read_text())
        names = {c["id"]: c["supercategory"] for c in found["categories"]}
        files = {i["id"]: i["file_name"] for i in found["images"]}
        fit = [a for a in found["annotations"] if not a["iscrowd"] and min(a["bbox"][2:]) >= 40]
        if not kept:
            kept = [n for n, _ in Counter(names[a["category_id"]] for a in fit).most_common(7)]
        seen: Counter[str] = Counter()
        for a in fit:
            name = names[a["category_id"]]
            seen[name] += name in kept
            if name not in kept or seen[name] > 60:
                continue
            x, y, w, h = a["bbox"]
            folder = out / split / name
            folder.mkdir(parents=True, exist_ok=True)
            with Image.open(root / f"{split}2017" / files[a["image_id"]]) as image:
                box = (
                    max(0, int(x - 0.1 * w)), max(0, int(y - 0.1 * h)),
                    min(image.width, int(x + 1.1 * w)), min(image.height, int(y + 1.1 * h)),
                )  # fmt: skip
                image.convert("RGB").crop(box).save(folder / f"{a['id']}.jpg", quality=95)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    default = os.environ.get("XFER_TEST_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="the shared pictures")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--sets", nargs="*", default=["hymenoptera", "tiny10", "cococrops"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the table here")
    args = parser.parse_args()

    import xfer

    weights = args.data / "weights" / "alexnet_torchvision_features" / "features.npz"
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sets = {"hymenoptera": args.data / "hymenoptera"}
        for name, cut in (("tiny10", cut_tiny10), ("cococrops", cut_cococrops)):
            if name in args.sets:
                sets[name] = cut(args.data, folder / name)
        for variant in args.variants:
            for name in args.sets:
                scores: list[float] = []
                start = time.perf_counter()
                for seed in range(args.seeds):
                    settings = {**VARIANTS[variant], "data.val": "none", "data.test": "val"}
                    run = xfer.finetune(
                        str(sets[name]), "classify", out=folder / "run", overwrite=True,
                        verbosity=-1, weights=str(weights), seed=seed,
                        **{"run.plots": False, **settings},
                    )  # fmt: skip
                    scores.append(run.result["test_metrics"]["top1"])
                seconds = (time.perf_counter() - start) / args.seeds
                rows[f"{variant} / {name}"] = {"top1": scores, "seconds": round(seconds, 1)}
                listed = " ".join(f"{s:.3f}" for s in scores)
                print(f"| {variant} | {name} | {statistics.mean(scores):.3f} | {listed} | "
                      f"{seconds:.0f} s |", flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
