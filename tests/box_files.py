"""Small sets of boxes in the layouts that tools write, for the tests of data readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pictures import write_picture

SIZE = (40, 30)


def coco_document(pictures: int = 4, **changes: Any) -> dict[str, Any]:
    """Category ids with gaps; picture k has k boxes; the last of three is a crowd."""
    annotations = [
        {
            "id": 100 + 10 * i + k, "image_id": 7 * i + 3, "category_id": (5, 90)[k % 2],
            "bbox": [2.0 + k, 3.0, 10.5, 8.0], "area": 50.0 + k, "iscrowd": int(k == 2),
            "segmentation": [[2, 3, 12, 3, 12, 11]],
        }
        for i in range(pictures) for k in range(min(i, 3))
    ]  # fmt: skip
    images = [
        {"id": 7 * i + 3, "file_name": f"{i:04d}.jpg", "width": SIZE[0], "height": SIZE[1]}
        for i in range(pictures)
    ]
    categories = [{"id": 90, "name": "dog", "supercategory": "animal"},
                  {"id": 5, "name": "cat", "supercategory": "animal"}]  # fmt: skip
    found = {"images": images, "annotations": annotations, "categories": categories}
    return {**found, **changes}


def write_json(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def write_coco(root: Path, pictures: int = 4, split: str = "train2017", **changes: Any) -> Path:
    """COCO's own tree: annotations/instances_SPLIT.json beside SPLIT/."""
    document = coco_document(pictures, **changes)
    for image in document["images"]:
        write_picture(root / split / image["file_name"], size=SIZE)
    return write_json(root / "annotations" / f"instances_{split}.json", document)


def voc_xml(
    objects: list[tuple[str, Any]], size: tuple[int, int] | None = SIZE, head: str = "", **more: str
) -> str:
    """An annotation file: one (name, (x1, y1, x2, y2)) per object; `more` is added to each."""
    rows = "".join(
        f"<object><name>{name}</name>{''.join(f'<{k}>{v}</{k}>' for k, v in more.items())}"
        f"<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
        f"</bndbox></part><bndbox><ymax>{b[3]}</ymax><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax></bndbox></object>"
        for name, b in objects
    )
    told = (
        "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    )
    return f"{head}<annotation>{told}{rows}</annotation>"


def write_voc(root: Path, files: dict[str, str], lists: dict[str, list[str]] | None = None) -> Path:
    """A VOC tree: id -> XML, and the lists of ImageSets/Main."""
    for name, text in files.items():
        path = root / "Annotations" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        write_picture(root / "JPEGImages" / f"{name}.jpg", size=SIZE)
    for split, ids in (lists or {}).items():
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(ids) + "\n", encoding="utf-8")
    return root


def write_yolo(root: Path, labels: dict[str, str | None], yaml: str = "") -> Path:
    """images/NAME.jpg and labels/NAME.txt (None: no file), and a data.yaml."""
    for name, text in labels.items():
        write_picture(root / "images" / f"{name}.jpg", size=SIZE)
        path = root / "labels" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text, encoding="utf-8")
    (root / "data.yaml").write_text(yaml or "train: images\nnames: [cat, dog]\n", encoding="utf-8")
    return root
