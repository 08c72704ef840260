"""More sets for every task, cut from other data, so that no decision depends on one set.

tiny10     10 classes of Tiny-ImageNet: 40 training and 50 test pictures each, 64 px
cococrops  objects of coco-mini cut out by their boxes: 7 supercategories, unbalanced
cocomasks  coco-mini with one class per pixel, person, animal, vehicle and the rest: 100 pictures
           in train, 100 in val, of at most 320 px
shapes     hymenoptera with a patterned blob and thin curves drawn over each picture, two classes:
           136 pictures in train, 40 in val, 40 in test; short sides of 120 to 520 px
vocboxes   voc-mini with its 20 classes merged to 4 (person, animal, vehicle, indoor): 70 pictures
           in train, 30 in val, by its ImageSets
cocoboxes  coco-mini's boxes of its 6 most common supercategories, many of them small: 100 pictures
           in train, 100 in val
large      one class, people and animals: the pictures of coco-mini, coco-mini-captions and voc-mini
           with at most 3 of them, of which one covers a twentieth of the picture: 101 pictures in
           train, 51 in val, 1.6 boxes each
white      one class, the white cells of BCCD, mostly one large object a picture: every third
           picture of its trainval to train on, its test to score
outlined   one class, people and animals with their outlines: the pictures of coco-mini and
           coco-mini-captions with at most 6 of them, of which one covers 3 % of the picture; every
           third picture is in val

    python benchmarks/cut_sets.py OUT       writes all of them to OUT
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree


def cut_tiny10(data: Path, out: Path) -> Path:
    """10 classes of Tiny-ImageNet: 40 training and 50 test pictures each."""
    import numpy as np

    chosen = sorted(np.random.default_rng(0).choice(100, 10, replace=False).tolist())
    for split, count in (("train", 40), ("val", 50)):
        packed = np.load(data / "tiny-imagenet-100" / f"{split}.npz")
        header, bytes_, offsets = (
            bytes(packed["header"]),
            packed["data"].tobytes(),
            packed["offsets"],
        )
        for c in chosen:
            folder = out / split / f"class{c:03d}"
            folder.mkdir(parents=True)
            for i in np.flatnonzero(packed["labels"] == c)[:count]:
                jpeg = header + bytes_[offsets[i] : offsets[i + 1]]
                (folder / f"{i}.jpg").write_bytes(jpeg)
    return out


def cut_cococrops(data: Path, out: Path) -> Path:
    """COCO objects of at least 40 px, with a margin of a tenth of their size."""
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


def cut_cocomasks(data: Path, out: Path) -> Path:
    """COCO's persons, animals and vehicles by pixel. The smaller of two objects is on top, other
    objects are background, crowds are ignored."""
    import numpy as np
    from PIL import Image
    from pycocotools.coco import COCO

    from xfer.data.readers.coco.polygons import render

    kinds = ("background", "person", "animal", "vehicle")
    root = data / "coco-mini"
    for split in ("train", "val"):
        coco = COCO(str(root / "annotations" / f"instances_{split}2017.json"))
        above: dict[int, str] = {
            c["id"]: c["supercategory"] for c in coco.loadCats(coco.getCatIds())
        }
        for kind in ("images", "masks"):
            (out / kind / split).mkdir(parents=True)
        for entry in coco.loadImgs(coco.getImgIds()):
            mask = np.zeros((entry["height"], entry["width"]), np.uint8)
            objects = coco.loadAnns(coco.getAnnIds(entry["id"]))
            # crowds first, then from largest to smallest
            for one in sorted(objects, key=lambda o: (not o["iscrowd"], -o["area"])):
                name = above[one["category_id"]]
                value = kinds.index(name) if name in kinds else 0
                if one["iscrowd"] and value == 0:
                    continue
                pixels = render(one["segmentation"], *mask.shape)  # some have no outline
                mask[pixels] = 255 if one["iscrowd"] else value
            with Image.open(root / f"{split}2017" / entry["file_name"]) as image:
                small = image.convert("RGB")
                small.thumbnail((320, 320), Image.Resampling.BICUBIC)
            stem = Path(entry["file_name"]).stem
            small.save(out / "images" / split / f"{stem}.jpg", quality=95)
            seen = Image.fromarray(mask).resize(small.size, Image.Resampling.NEAREST)
            seen.save(out / "masks" / split / f"{stem}.png")
    (out / "classes.txt").write_text("".join(f"{v} {k}\n" for v, k in enumerate(kinds)))
    return out


def cut_shapes(data: Path, out: Path) -> Path:
    """Shapes cover 3.5 % of the pixels; curves are as wide as 1.5 % of the short side."""
    import cv2
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    found = sorted((data / "hymenoptera").rglob("*.jpg"))
    for k, i in enumerate(rng.permutation(len(found))[:216].tolist()):
        with Image.open(found[i]) as image:
            scale = rng.uniform(120, 520) / min(image.size)
            size = [max(1, round(side * scale)) for side in image.size]
            picture = np.array(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))
        height, width = picture.shape[:2]
        short = min(height, width)
        mask: Any = np.zeros((height, width), np.uint8)
        middle = int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.8) * height)
        axes = int(short * rng.uniform(0.06, 0.2)), int(short * rng.uniform(0.04, 0.12))
        cv2.ellipse(mask, middle, axes, rng.uniform(0, 180), 0, 360, 1, -1)
        for _ in range(int(rng.integers(1, 4))):
            points = np.cumsum(np.concatenate([[middle], rng.normal(0, short * 0.12, (4, 2))]), 0)
            places = np.linspace(0, 4, 60)
            curve = np.stack([np.interp(places, range(5), points[:, axis]) for axis in (0, 1)], 1)
            curve = cv2.GaussianBlur(curve.astype(np.float32), (1, 9), 2)
            line = np.round(curve).astype(np.int32)
            cv2.polylines(mask, [line], False, 1, max(1, round(short * 0.015)))
        grain = rng.uniform(0, 1, (height // 4 + 2, width // 4 + 2)).astype(np.float32)
        value = (90 + 120 * cv2.resize(grain, (width, height))).astype(np.uint8)
        hue = np.full_like(value, rng.choice([20, 110, 150]))  # orange, blue or purple
        colour = cv2.cvtColor(np.dstack([hue, np.full_like(value, 150), value]), cv2.COLOR_HSV2RGB)
        share = 0.85 * cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0.6)[..., None]
        drawn = (picture * (1 - share) + colour * share).astype(np.uint8)
        split = "train" if k < 136 else "val" if k < 176 else "test"
        for kind, array, end in (("images", drawn, "jpg"), ("masks", mask, "png")):
            (out / kind / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(out / kind / split / f"{k:03d}.{end}", quality=90)
    (out / "classes.txt").write_text("0 background\n1 shape\n")
    return out


VOC_KINDS = {
    "animal": "bird cat cow dog horse sheep",
    "vehicle": "aeroplane bicycle boat bus car motorbike train",
    "indoor": "bottle chair diningtable pottedplant sofa tvmonitor",
}  # Everingham et al. 2010, table 1


def cut_vocboxes(data: Path, out: Path) -> Path:
    """voc-mini in VOC's layout, with class names replaced by those of their kinds."""
    root = data / "voc-mini"
    kinds = {name: kind for kind, names in VOC_KINDS.items() for name in names.split()}
    (out / "Annotations").mkdir(parents=True)
    for folder in ("JPEGImages", "ImageSets"):
        (out / folder).symlink_to((root / folder).absolute())
    for file in sorted((root / "Annotations").glob("*.xml")):
        tree = ElementTree.parse(file)
        for name in tree.getroot().iterfind("object/name"):
            name.text = kinds.get(name.text or "", name.text)
        tree.write(out / "Annotations" / file.name)
    return out


def cut_cocoboxes(data: Path, out: Path) -> Path:
    """coco-mini in COCO's layout; one class for each of 6 supercategories."""
    root = data / "coco-mini"
    (out / "annotations").mkdir(parents=True)
    kept: list[str] = []
    for split in ("train2017", "val2017"):
        (out / split).symlink_to((root / split).absolute())
        found = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
        above = {c["id"]: c["supercategory"] for c in found["categories"]}
        if not kept:
            counts = Counter(above[a["category_id"]] for a in found["annotations"])
            kept = [name for name, _ in counts.most_common(6)]
        found["annotations"] = [
            {**a, "category_id": kept.index(above[a["category_id"]]) + 1}
            for a in found["annotations"] if above[a["category_id"]] in kept
        ]  # fmt: skip
        found["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(kept)]
        (out / "annotations" / f"instances_{split}.json").write_text(json.dumps(found))
    return out


ANIMALS = "bird cat dog horse sheep cow elephant bear zebra giraffe"


def boxed_pictures(data: Path) -> Iterator[tuple[Path, int, int, list[tuple[str, list[float]]]]]:
    """(file, width, height, [(class, [x, y, w, h])]) of COCO's and VOC's pictures, each once;
    pictures with crowds are left out."""
    seen: set[int] = set()
    roots = [data / name for name in ("coco-mini", "coco-mini-captions")]
    for root, split in itertools.product(roots, ("train2017", "val2017")):
        found = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
        names = {c["id"]: c["name"] for c in found["categories"]}
        objects: dict[int, list[Any]] = {}
        for a in found["annotations"]:
            objects.setdefault(a["image_id"], []).append(a)
        for image in found["images"]:
            own = objects.get(image["id"], [])
            if image["id"] in seen or any(a["iscrowd"] for a in own):
                continue
            seen.add(image["id"])
            boxes = [(names[a["category_id"]], a["bbox"]) for a in own]
            yield root / split / image["file_name"], image["width"], image["height"], boxes
    for file in sorted((data / "voc-mini" / "Annotations").glob("*.xml")):
        tree = ElementTree.parse(file).getroot()
        width, height = (int(tree.findtext(f"size/{side}", "0")) for side in ("width", "height"))
        boxes: list[tuple[str, list[float]]] = []
        for one in tree.iterfind("object"):
            x1, y1, x2, y2 = (
                float(one.findtext(f"bndbox/{side}", "0"))
                for side in ("xmin", "ymin", "xmax", "ymax")
            )
            boxes.append((one.findtext("name", ""), [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]))
        yield data / "voc-mini" / "JPEGImages" / f"{file.stem}.jpg", width, height, boxes


def cut_large(data: Path, out: Path, fold: int = 0) -> Path:
    """Few large objects of one class, in COCO's layout; every third picture is in val, from number
    `fold` on."""
    wanted = {"person", *ANIMALS.split()}
    splits: dict[str, dict[str, list[Any]]] = {
        name: {"images": [], "annotations": [], "categories": [{"id": 1, "name": "being"}]}
        for name in ("train2017", "val2017")
    }
    count = 0
    for file, width, height, objects in boxed_pictures(data):
        boxes = [box for name, box in objects if name in wanted]
        areas = [w * h for _, _, w, h in boxes]
        if not boxes or len(boxes) > 3 or max(areas) < 0.05 * width * height:
            continue
        name = "val2017" if count % 3 == fold else "train2017"
        count += 1
        picture = {"id": count, "file_name": file.name, "width": width, "height": height}
        splits[name]["images"].append(picture)
        (out / name).mkdir(parents=True, exist_ok=True)
        (out / name / file.name).symlink_to(file.absolute())
        for box, area in zip(boxes, areas, strict=True):
            number = sum(len(split["annotations"]) for split in splits.values()) + 1
            splits[name]["annotations"].append(
                {"id": number, "image_id": count, "category_id": 1, "bbox": box, "area": area,
                 "iscrowd": 0}
            )  # fmt: skip
    (out / "annotations").mkdir()
    for name, found in splits.items():
        (out / "annotations" / f"instances_{name}.json").write_text(json.dumps(found))
    return out


def cut_white(data: Path, out: Path, fold: int = 0) -> Path:
    """The white cells of BCCD in VOC's layout: every third picture of trainval, from number `fold`
    on, is in train, the test pictures are in val."""
    root = data / "bccd"
    (out / "Annotations").mkdir(parents=True)
    (out / "JPEGImages").symlink_to((root / "JPEGImages").absolute())
    (out / "ImageSets" / "Main").mkdir(parents=True)
    for name, source in (("train", "trainval"), ("val", "test")):
        kept: list[str] = []
        for stem in (root / "ImageSets" / "Main" / f"{source}.txt").read_text().split():
            tree = ElementTree.parse(root / "Annotations" / f"{stem}.xml")
            top = tree.getroot()
            for one in top.findall("object"):
                if one.findtext("name") != "WBC":
                    top.remove(one)
            if top.find("object") is not None:
                tree.write(out / "Annotations" / f"{stem}.xml")
                kept.append(stem)
        kept = kept[fold::3] if name == "train" else kept
        (out / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(kept))
    return out


def cut_outlined(data: Path, out: Path, fold: int = 0) -> Path:
    """Few people and animals with outlines, in COCO's layout; every third picture is in val, from
    number `fold` on."""
    wanted = {"person", *ANIMALS.split()}
    splits: dict[str, dict[str, list[Any]]] = {
        name: {"images": [], "annotations": [], "categories": [{"id": 1, "name": "being"}]}
        for name in ("train2017", "val2017")
    }
    seen: set[int] = set()
    roots = [data / name for name in ("coco-mini", "coco-mini-captions")]
    for root, part in itertools.product(roots, ("train2017", "val2017")):
        found = json.loads((root / "annotations" / f"instances_{part}.json").read_text())
        kept = {c["id"] for c in found["categories"] if c["name"] in wanted}
        objects: dict[int, list[Any]] = {}
        for a in found["annotations"]:
            if a["category_id"] in kept:
                objects.setdefault(a["image_id"], []).append({**a, "category_id": 1})
        for image in found["images"]:
            own = objects.get(image["id"], [])
            least = 0.03 * image["width"] * image["height"]
            large = any(a["area"] > least for a in own)
            if image["id"] in seen or any(a["iscrowd"] for a in own) or len(own) > 6 or not large:
                continue
            name = "val2017" if len(seen) % 3 == fold else "train2017"
            seen.add(image["id"])
            splits[name]["images"].append(image)
            listed = splits[name]["annotations"]
            listed += [{**a, "id": len(listed) + k} for k, a in enumerate(own, 1)]
            (out / name).mkdir(parents=True, exist_ok=True)
            (out / name / image["file_name"]).symlink_to(
                (root / part / image["file_name"]).absolute()
            )
    (out / "annotations").mkdir()
    for name, found in splits.items():
        (out / "annotations" / f"instances_{name}.json").write_text(json.dumps(found))
    return out


CUTS: dict[str, Callable[[Path, Path], Path]] = {
    "tiny10": cut_tiny10,
    "cococrops": cut_cococrops,
    "cocomasks": cut_cocomasks,
    "shapes": cut_shapes,
    "vocboxes": cut_vocboxes,
    "cocoboxes": cut_cocoboxes,
    "large": cut_large,
    "white": cut_white,
    "outlined": cut_outlined,
}


def comparison(text: str, variants: Sequence[str], sets: Sequence[str]) -> argparse.ArgumentParser:
    """The options for a table of variants x sets."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("XFER_TEST_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="the shared pictures")
    parser.add_argument("--variants", nargs="*", default=list(variants), choices=list(variants))
    parser.add_argument("--sets", nargs="*", default=list(sets), choices=list(sets))
    parser.add_argument("--json", type=Path, help="write the table to this file")
    return parser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    default = os.environ.get("XFER_TEST_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="the shared pictures")
    parser.add_argument("--json", type=Path, help="write the folders to this file, as JSON")
    parser.add_argument("out", type=Path, nargs="?", default=Path(), help="where to")
    args = parser.parse_args()
    folders = {name: str(cut(args.data, args.out / name)) for name, cut in CUTS.items()}
    print("\n".join(folders.values()))
    if args.json:
        args.json.write_text(json.dumps(folders, indent=1))


if __name__ == "__main__":
    main()
