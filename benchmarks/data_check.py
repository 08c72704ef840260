"""Planted faults that `xfer data check` finds, and its time on many pictures.

Into a copy of a set of class folders with train/ and val/: --copies exact copies of train pictures,
half of them within their class, half in val (leaks: --leaks of val pictures are copies of train
pictures, resized to 4/5 and saved with quality 70), and --swapped train pictures moved to another
class. Recall is the share of the planted faults that are found; precision the share of what is
found that was planted, after what is found in the set as it is has been taken off, since that is
not planted; for labels both are given, since no set is free of doubtful ones.

--many N: seconds and peak memory of a check of N pictures of 256 x 320 without a net, and with it.

    python benchmarks/data_check.py --sets hymenoptera scene15 --json out.json
    python benchmarks/data_check.py --many 10000 --sets
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from xfer.doctor.check import Report, check_data

ENDINGS = (".jpg", ".jpeg", ".png")
DATA = Path(os.environ.get("XFER_TEST_DATA", "../shared/data"))


def plant(top: Path, rng: random.Random, copies: int, swapped: int, leaks: int) -> dict[str, set]:
    """Plant the faults; returns their ids by kind."""
    train = sorted(p for p in (top / "train").rglob("*") if p.suffix.lower() in ENDINGS)
    classes = sorted({p.parent.name for p in train})
    chosen = rng.sample(train, copies + swapped + leaks)
    planted: dict[str, set] = {"copy": set(), "leak": set(), "swapped": set()}
    for k, file in enumerate(chosen[:copies]):
        split = "train" if k % 2 else "val"
        place = top / split / file.parent.name / f"copy{k}{file.suffix}"
        shutil.copy(file, place)
        planted["copy"].add(place.relative_to(top).as_posix())
    for k, file in enumerate(chosen[copies : copies + leaks]):
        place = top / "val" / file.parent.name / f"leak{k}.jpg"
        with Image.open(file) as image:
            small = image.convert("RGB").resize((image.width * 4 // 5, image.height * 4 // 5))
            small.save(place, quality=70)
        planted["leak"].add(place.relative_to(top).as_posix())
    for k, file in enumerate(chosen[copies + leaks :]):
        others = [name for name in classes if name != file.parent.name]
        place = top / "train" / rng.choice(others) / f"swapped{k}{file.suffix}"
        shutil.move(file, place)
        planted["swapped"].add(place.relative_to(top).as_posix())
    return planted


def named(report: Report, *checks: str) -> list[str]:
    """Ids in the findings of these checks, in order."""
    return [i for f in report.findings if f.check in checks for item in f.items for i in item]


def scores(name: str, seed: int, weights: str, counts: tuple[int, int, int]) -> dict[str, float]:
    """Recall and precision of one draw of faults."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder) / "data"
        shutil.copytree(DATA / name, top)
        before = check_data(str(top), weights=weights)
        planted = plant(top, random.Random(seed), *counts)
        after = check_data(str(top), weights=weights)
    result: dict[str, float] = {}
    for kind, checks in (("copy", ("copy",)), ("leak", ("copy", "near_copy"))):
        groups = [set(item) for f in after.findings if f.check in checks for item in f.items]
        own = {frozenset(i) for f in before.findings for i in f.items if f.check in checks}
        new = [group for group in groups if frozenset(group) not in own]
        hits = [group for group in new if group & (planted["copy"] | planted["leak"])]
        found = set().union(*groups) if groups else set()
        result[f"{kind}_recall"] = len(found & planted[kind]) / len(planted[kind])
        result[f"{kind}_precision"] = len(hits) / max(1, len(new))
    doubted = named(after, "label_suspect")
    hit = [i in planted["swapped"] for i in doubted]
    result["swapped_recall"] = sum(hit) / len(planted["swapped"])
    result["swapped_precision"] = sum(hit) / max(1, len(doubted))
    result["listed"] = len(doubted)
    result["listed_before"] = len(named(before, "label_suspect"))
    result["in_first_20"] = sum(hit[:20])
    return result


def many(count: int, weights: str) -> dict[str, float]:
    """Seconds and MB of a check of many pictures, without a net and with one."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder) / "many"
        for c in range(10):
            (top / f"class{c}").mkdir(parents=True)
        for i in range(count):
            small = rng.integers(0, 256, (12, 16, 3), np.uint8)
            image = cv2.resize(small, (320, 256), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(top / f"class{i % 10}" / f"{i}.jpg"), image)
        result: dict[str, float] = {"pictures": count}
        for what, file in (("no_net", "none"), ("net", weights)):
            start = time.perf_counter()
            check_data(str(top), weights=file)
            result[f"{what}_seconds"] = round(time.perf_counter() - start, 1)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            result[f"{what}_peak_mb"] = round(peak / 1024)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sets", nargs="*", default=["hymenoptera", "scene15"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--swapped", type=int, default=20)
    parser.add_argument("--leaks", type=int, default=10)
    parser.add_argument("--many", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    weights = str(DATA / "weights/alexnet_torchvision_features/features.npz")
    out: dict[str, Any] = {}
    for name in args.sets:
        counts = (args.copies, args.swapped, args.leaks)
        rows = [scores(name, seed, weights, counts) for seed in range(args.seeds)]
        out[name] = {key: round(statistics.mean(row[key] for row in rows), 3) for key in rows[0]}
        print(name, out[name], flush=True)
    if args.many:
        out["many"] = many(args.many, weights)
        print(out["many"])
    if args.json:
        args.json.write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
