"""Settings for the default classification recipe: variants x sets x seeds.

Sets: hymenoptera, and the two that cut_sets.py cuts from other data, so that no decision depends
on one set. All on AlexNet's convolutions; trained on train only, last weights scored once on val.

    python benchmarks/default_recipe.py --variants default sgd --seeds 3 --json out.json
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from cut_sets import CUTS, comparison

SETS = ("hymenoptera", "tiny10", "cococrops")
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
    "head only": {"optim.freeze": "all"},
    "sgd": {"optim.name": "sgd", "optim.lr": 2e-3, "optim.weight_decay": 1e-3},
}


def main() -> None:
    parser = comparison(__doc__ or "", list(VARIANTS), SETS)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()

    import xfer

    weights = args.data / "weights" / "alexnet_torchvision_features" / "features.npz"
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sets = {"hymenoptera": args.data / "hymenoptera"}
        for name, cut in CUTS.items():
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
