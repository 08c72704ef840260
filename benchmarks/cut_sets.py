"""Two more sets to classify, cut from other data, so that no one set decides anything.

tiny10     10 classes of Tiny-ImageNet: 40 training pictures each, 50 to test, 64 px
cococrops  objects of coco-mini cut out by their boxes: 7 supercategories, unbalanced

    python benchmarks/cut_sets.py OUT       writes OUT/tiny10 and OUT/cococrops
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path


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


CUTS: dict[str, Callable[[Path, Path], Path]] = {"tiny10": cut_tiny10, "cococrops": cut_cococrops}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    default = os.environ.get("XFER_TEST_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="the shared pictures")
    parser.add_argument("--json", type=Path, help="write the folders there, as JSON")
    parser.add_argument("out", type=Path, nargs="?", default=Path(), help="where to")
    args = parser.parse_args()
    made = {name: str(cut(args.data, args.out / name)) for name, cut in CUTS.items()}
    print("\n".join(made.values()))
    if args.json:
        args.json.write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
