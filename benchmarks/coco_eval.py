"""COCO's twelve figures for 500,000 boxes: ours against pycocotools, bit for bit.

A synthetic set: 5,000 pictures, 80 classes, 36,000 true boxes (2 % crowds), 100 detections per
picture: true boxes moved a little or more, a fifth of them with another class. Scores rise with
accuracy and have three digits, so that many are equal.

plain   pycocotools as in its manual: loadRes of a list of dicts, evaluate, accumulate, summarize
ours    xfer.metrics.coco_ap.coco_scores on the same boxes as columns
metric  everything a detection run computes: COCO, VOC, per class, kinds of error

Times are for one call, from each one's input to the figures, each in its own process, in turns.
`equal` is 1 if all twelve figures and every number of the precision table have the same bits.

    python benchmarks/coco_eval.py --json FILE      {"speedup": r, "equal": 1}, about 2 minutes
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import time
from typing import Any

import harness
import numpy as np

from xfer.metrics.boxes import FoundBoxes, TrueBoxes
from xfer.metrics.coco_ap import coco_scores
from xfer.metrics.coco_figures import FIGURES
from xfer.metrics.detection import DetectionAP

CLASSES = 80
FULL, QUICK = 5000, 200  # pictures
FOUND = 100  # per picture


def made_up(images: int) -> tuple[TrueBoxes, FoundBoxes]:
    """Makes the set, which depends only on the number of pictures."""
    rng = np.random.default_rng(images)
    count = round(7.2 * images)
    place = rng.uniform((0, 0), (560, 400), (count, 2))
    # sides distributed as in COCO: 41 % small, 34 % medium, 24 % large objects
    side = np.exp(rng.normal(3.7, 0.9, (count, 1)) + rng.normal(0, 0.3, (count, 2)))
    boxes = np.concatenate([place, side.clip(2, 600)], 1).round(2)
    crowd = rng.random(count) < 0.02
    truth_image = np.sort(rng.integers(0, images, count))
    truth_label = rng.integers(0, CLASSES, count)
    area = boxes[:, 2:].prod(1) * rng.uniform(0.4, 1, count)
    truth = TrueBoxes.of_xywh(truth_image, boxes, truth_label, area=area, crowd=crowd)
    image = np.repeat(np.arange(images), FOUND)
    # a true box of the same picture if it has one
    low, high = np.searchsorted(truth.image, image), np.searchsorted(truth.image, image, "right")
    source = np.minimum(low + (rng.random(len(image)) * (high - low)).astype(int), count - 1)
    off = rng.beta(2, 2, len(image))  # how far a box is moved, in half sides
    sides = np.tile(boxes[source, 2:], 2)
    moved = boxes[source] + sides * off[:, None] * rng.normal(0, 0.5, (len(image), 4))
    moved[:, 2:] = np.abs(moved[:, 2:]) + 1
    other = rng.random(len(image)) < 0.2
    label = np.where(other, rng.integers(0, CLASSES, len(image)), truth.label[source])
    score = (1 - off - 0.3 * other + rng.normal(0, 0.1, len(image))).clip(0, 1).round(3)
    return truth, FoundBoxes(image, label, moved.round(2), score)


def plain(truth: TrueBoxes, found: FoundBoxes, images: int) -> dict[str, Any]:
    """Seconds and figures of pycocotools; its dicts are made before the clock starts."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    xywh = truth.xywh
    annotations: list[Any] = [
        {"id": i + 1, "image_id": int(truth.image[i]) + 1, "category_id": int(truth.label[i]) + 1,
         "bbox": xywh[i].tolist(), "area": float(truth.boxes.area[i]),
         "iscrowd": int(truth.boxes.crowd[i])}
        for i in range(len(truth))
    ]  # fmt: skip
    results: Any = [
        {"image_id": int(found.image[i]) + 1, "category_id": int(found.label[i]) + 1,
         "bbox": found.xywh[i].tolist(), "score": float(found.score[i])}
        for i in range(len(found))
    ]  # fmt: skip
    dataset: Any = {
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(CLASSES)],
        "annotations": annotations,
        "info": {},
    }
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        true = COCO()
        true.dataset = dataset
        true.createIndex()
        scorer = COCOeval(true, true.loadRes(results), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
        seconds = time.perf_counter() - start
    return as_answer(seconds, scorer.stats, scorer.eval["precision"][:, :, :, 0, -1])


def ours(truth: TrueBoxes, found: FoundBoxes, images: int) -> dict[str, Any]:
    """Seconds and figures of ours."""
    start = time.perf_counter()
    scores = coco_scores(truth, found, images, CLASSES)
    return as_answer(time.perf_counter() - start, scores.figures, scores.precision)


def whole(truth: TrueBoxes, found: FoundBoxes, images: int) -> dict[str, Any]:
    """Seconds of a run's metric."""
    metric = DetectionAP([str(c) for c in range(CLASSES)])
    metric.add([str(i) for i in range(images)], truth, found)
    start = time.perf_counter()
    metric.compute()
    return {"seconds": time.perf_counter() - start}


def as_answer(seconds: float, figures: Any, precision: Any) -> dict[str, Any]:
    """A worker's answer; floats keep their bits in JSON."""
    table = np.ascontiguousarray(precision, np.float64)
    return {
        "seconds": seconds,
        "figures": [float(v) for v in figures],
        "precision": hashlib.sha256(table.tobytes()).hexdigest(),
    }


VARIANTS = {"plain": plain, "ours": ours, "metric": whole}


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=1)
    parser.add_argument("--worker", nargs=2, metavar=("VARIANT", "N"), help="(internal)")
    options = parser.parse_args()
    if options.worker:
        name, count = options.worker[0], int(options.worker[1])
        VARIANTS[name](*made_up(20), 20)  # one uncounted call, for the imports
        truth, found = made_up(count)
        print(json.dumps(VARIANTS[name](truth, found, count)))
        return
    images = QUICK if options.quick else FULL
    print(harness.machine("cpu"))
    print(f"{images} pictures, {images * FOUND} detections", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    answers: set[str] = set()
    for _ in range(1 if options.quick else options.rounds):
        for name in VARIANTS:
            answer = harness.worker(__file__, [name, str(images)])
            seconds[name].append(answer.pop("seconds"))
            print(f"{name}: {seconds[name][-1]:.3f} s", flush=True)
            if name != "metric":
                answers.add(json.dumps(answer, sort_keys=True))
                figures = answer["figures"]
    print("  ".join(f"{k} {v:.4f}" for k, v in zip(FIGURES, figures, strict=True)))
    middle, lowest, highest = harness.median_ratio(seconds["plain"], seconds["ours"])
    print(f"ratios {lowest:.1f} to {highest:.1f}")
    harness.report({"speedup": middle, "equal": int(len(answers) == 1)}, options.json)


if __name__ == "__main__":
    main()
