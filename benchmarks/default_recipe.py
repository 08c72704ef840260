"""Which settings the default classification recipe should have: variants x sets x seeds.

Sets: hymenoptera as it is, the two that cut_sets.py cuts from other data, scene15 and orl-faces, so
that no one set decides; on AlexNet's convolutions, or on the nets of --nets. Trained on train alone
(of orl-faces four fifths, cut with the seed), the last weights scored once on val.

    python benchmarks/default_recipe.py --variants default sgd --seeds 3 --json out.json
    python benchmarks/default_recipe.py --nets alexnet lite0 --sets hymenoptera scene15 orl-faces
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from cut_sets import CUTS, comparison

SETS = ("hymenoptera", "tiny10", "cococrops", "scene15", "orl-faces")
# name -> backbone, and its published weights under the data's folder
NETS = {
    "alexnet": ("alexnet", "weights/alexnet_torchvision_features/features.npz"),
    "lite0": (
        "timm:tf_efficientnet_lite0",
        "weights/efficientnet_lite0_timm/tf_efficientnet_lite0.safetensors",
    ),
}
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
    "lr 5e-4": {"optim.lr": 5e-4},
    "lr 1e-3": {"optim.lr": 1e-3},
}


def main() -> None:
    parser = comparison(__doc__ or "", list(VARIANTS), SETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=["alexnet"])
    args = parser.parse_args()

    import xfer

    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sets = {name: args.data / name for name in ("hymenoptera", "scene15", "orl-faces")}
        for name, cut in CUTS.items():
            if name in args.sets:
                sets[name] = cut(args.data, folder / name)
        runs = itertools.product(args.nets, args.variants, args.sets)
        for net, variant, name in runs:
            scores: list[float] = []
            start = time.perf_counter()
            for seed in range(args.seeds):
                whole = (sets[name] / "val").is_dir()
                held = {"data.val": "none", "data.test": "val"} if whole else {}
                backbone, file = NETS[net]
                run = xfer.finetune(
                    f"folder:{sets[name]}", "classify", out=folder / "run", overwrite=True,
                    verbosity=-1, backbone=backbone, weights=str(args.data / file), seed=seed,
                    **{"run.plots": False, **VARIANTS[variant], **held},
                )  # fmt: skip
                metrics = run.result["test_metrics" if whole else "metrics"]
                scores.append(metrics["top1"])
            seconds = (time.perf_counter() - start) / args.seeds
            rows[f"{net} / {variant} / {name}"] = {"top1": scores, "seconds": round(seconds, 1)}
            listed = " ".join(f"{s:.3f}" for s in scores)
            print(f"| {net} | {variant} | {name} | {statistics.mean(scores):.3f} | {listed} | "
                  f"{seconds:.0f} s |", flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
