"""Proposals, head and map for the default detection recipe: variants x sets.

Sets: BCCD (trained on train, scored on val, so that its test split stays unseen), and the two that
cut_sets.py cuts from voc-mini and coco-mini. All on AlexNet's convolutions, one seed, the last
weights scored once; everything that a variant doesn't name is as in detect/default.

    python benchmarks/detect_heads.py --sets vocboxes cocoboxes --json out.json

--quick: 8 pictures of each set, two steps.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cut_sets import comparison, cut_cocoboxes, cut_vocboxes

SEARCH: dict[str, Any] = {"task.proposals": "selective_search"}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "selective search": SEARCH,
    "grid": {"task.proposals": "grid"},
    "max pooling": {"task.pool": "max"},
    "selective search, max pooling": {**SEARCH, "task.pool": "max"},
    "conv2 and conv5 merged": {"task.levels": ["conv2", "conv5"]},
    "600 px": {"data.size": 600},
    "head with 2048 units": {"task.head_width": 2048},
    "epochs only": {"schedule.min_steps": 0},
}
SETS: dict[str, Callable[[Path, Path], str]] = {
    "bccd": lambda data, _: f"voc:{data / 'bccd'}",
    "vocboxes": lambda data, out: f"voc:{cut_vocboxes(data, out)}",
    "cocoboxes": lambda data, out: str(cut_cocoboxes(data, out)),  # coco: would choose detect/coco
}


def main() -> None:
    parser = comparison(__doc__ or "", list(VARIANTS), list(SETS))
    parser.add_argument("--quick", action="store_true", help="8 pictures, two steps")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    import xfer

    data = args.data.absolute()
    weights = data / "weights" / "alexnet_torchvision_features" / "features.npz"
    short = {"schedule.steps": 2, "data.limit": 8} if args.quick else {}
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in args.sets:
            spec = SETS[name](data, folder / name)
            for variant in args.variants:
                start = time.perf_counter()
                run = xfer.finetune(
                    spec, "detect", out=folder / "run", overwrite=True, verbosity=-1,
                    backbone="alexnet", weights=str(weights), seed=args.seed, train="train",
                    val="none", test="val", **{"run.plots": False, **short, **VARIANTS[variant]},
                )  # fmt: skip
                scores = run.result["test_metrics"]
                ap50 = scores.get("voc_ap50_area", scores["coco_ap50"])
                seconds = time.perf_counter() - start
                rows[f"{variant} / {name}"] = {
                    "ap50": ap50, "coco_ap": scores["coco_ap"], "seconds": round(seconds, 1),
                    "coco_ap_small": scores.get("coco_ap_small"),
                }  # fmt: skip
                print(f"| {variant} | {name} | {ap50:.3f} | {scores['coco_ap']:.3f} | "
                      f"{seconds:.0f} s |", flush=True)  # fmt: skip
                if args.json:
                    args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
