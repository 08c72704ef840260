"""Memory of training a detector on pictures of varied sizes, as they are and with the heap left
alone: it must not grow.

200 pictures of COCO and VOC, cut and scaled to sizes from 100 to 1,900 px, 247 MB decoded, are
trained on by detect/default for --steps steps of two, each variant in a process of its own.
Peaks are the system's (resident memory); seconds are processor time. Results: kept_SEED,
bounded_SEED (MB), slower (share, the mean over seeds).
"""

from __future__ import annotations

import json
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
from cut_sets import boxed_pictures
from features import data_folder


def write_pictures(out: Path, count: int) -> None:
    """Pictures in COCO's layout, with one box each."""
    from PIL import Image

    rng = random.Random(0)
    (out / "train2017").mkdir(parents=True)
    (out / "annotations").mkdir()
    found: dict[str, list[Any]] = {
        "images": [], "annotations": [], "categories": [{"id": 1, "name": "thing"}]
    }  # fmt: skip
    pictures = zip(range(1, count + 1), boxed_pictures(data_folder()), strict=False)
    for n, (file, width, height, _) in pictures:
        part = int(width * rng.uniform(0.5, 1)), int(height * rng.uniform(0.5, 1))
        scale = rng.choice([0.5, 1, 1, 1.5, 2, 3])
        w, h = (int(side * scale) for side in part)
        with Image.open(file) as image:
            image.convert("RGB").crop((0, 0, *part)).resize((w, h)).save(
                out / "train2017" / f"{n}.jpg", quality=85
            )
        found["images"].append({"id": n, "file_name": f"{n}.jpg", "width": w, "height": h})
        box = [w * 0.2, h * 0.2, w * 0.6, h * 0.6]
        found["annotations"].append(
            {"id": n, "image_id": n, "category_id": 1, "bbox": box, "area": box[2] * box[3],
             "iscrowd": 0}
        )  # fmt: skip
    (out / "annotations" / "instances_train2017.json").write_text(json.dumps(found))


def train(variant: str, folder: str, seed: int, steps: int) -> dict[str, float]:
    """Trains in this process; its peak in MB and seconds of processor time."""
    from xfer.api import finetune
    from xfer.data.loading import loader

    if variant == "kept":
        loader.give_back = lambda: False
    weights = data_folder() / "weights" / "alexnet_torchvision_features" / "features.npz"
    start = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        finetune(
            f"coco:{folder}", "detect", recipe="detect/default", out=Path(out) / "run",
            backbone="alexnet", weights=str(weights), seed=seed, train="train", val="none",
            verbosity=-1, **{"schedule.steps": steps, "run.plots": False, "run.report": False},
        )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"mb": peak, "seconds": time.process_time() - start}


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=2)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--worker", nargs=4, metavar=("VARIANT", "FOLDER", "SEED", "STEPS"))
    options = parser.parse_args()
    if options.worker:
        variant, folder, seed, steps = options.worker
        print(json.dumps(train(variant, folder, int(seed), int(steps))))
        return
    steps = 5 if options.quick else options.steps
    seconds: dict[str, float] = {"kept": 0.0, "bounded": 0.0}
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        write_pictures(folder, 20 if options.quick else 200)
        for seed in range(options.rounds):
            for variant in seconds:
                found = harness.worker(__file__, [variant, str(folder), str(seed), str(steps)])
                results[f"{variant}_{seed}"] = found["mb"]
                seconds[variant] += found["seconds"]
                print(f"seed {seed}, {variant}: peak {found['mb']:.0f} MB, "
                      f"{found['seconds']:.1f} s of processor time", flush=True)  # fmt: skip
    results["slower"] = seconds["bounded"] / seconds["kept"] - 1
    harness.report(results, options.json)


if __name__ == "__main__":
    main()
