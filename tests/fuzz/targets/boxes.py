"""Readers of boxes: COCO, detections, VOC, YOLO, labelme, VIA and tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from box_files import SIZE, coco_document, voc_xml, write_coco, write_json, write_voc, write_yolo
from pictures import write_picture
from pycocotools import mask as rle
from test_data_box_tables import ROWS
from test_data_box_tables import write as write_boxes
from test_data_drawn import RECTANGLE, TRIANGLE, region, shape, write_labelme, write_via

from fuzz.case import Case
from fuzz.reading import attempts, seeds_in, use_data
from fuzz.target import target
from xfer.inference.ground_truth import open_truth
from xfer.inference.score_file import score_detections

PICTURES = ("*.jpg",)


def _coco_masks(root: Path) -> None:
    """Outlines in every form: polygons, runs as numbers and packed as text."""
    pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    pixels[4:20, 6:30] = 1
    packed: Any = rle.encode(np.asfortranarray(pixels))
    packed["counts"] = packed["counts"].decode()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], pixels.T.ravel()]))).tolist()
    plain = {"size": [SIZE[1], SIZE[0]],
             "counts": np.diff([0, *edges, pixels.size]).tolist()}  # fmt: skip
    outlines = [packed, plain, [[2, 3, 12, 3, 12, 11], [5, 5, 9, 5, 9, 9]]]
    annotations = [
        {"id": k, "image_id": 3 + 7 * (k % 2), "category_id": (5, 90)[k % 2], "area": 40.0,
         "bbox": [2, 3, 10, 8], "iscrowd": int(k == 1), "segmentation": outline}
        for k, outline in enumerate(outlines)
    ]  # fmt: skip
    write_coco(root, 2, annotations=annotations)


def _roboflow(root: Path) -> None:
    for split in ("train", "valid"):
        document = coco_document(3)
        for image in document["images"]:
            write_picture(root / split / image["file_name"], size=SIZE)
        write_json(root / split / "_annotations.coco.json", document)


def coco_sets(folder: Path) -> list[Case]:
    return seeds_in(folder, write_coco, _coco_masks, _roboflow)


@target("coco", coco_sets, keep=PICTURES)
def use_coco(path: Path) -> None:
    spec = f"coco:{path}"
    attempts([lambda kind=kind: use_data(spec, kind) for kind in ("detect", "segment", "instance")])


def _detections(**more: Any) -> list[dict[str, Any]]:
    truth = coco_document(3)["annotations"]
    return [{"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"],
             "score": 0.25 * (k + 1)} | more for k, a in enumerate(truth)]  # fmt: skip


def detections(folder: Path) -> list[Case]:
    truth = json.dumps(coco_document(3)).encode()
    by_name = [
        {**d, "image_id": f"{i:04d}.jpg", "category_id": "cat"} for i, d in enumerate(_detections())
    ]
    dataset = {**coco_document(3), "annotations": _detections(segmentation=[], area=3.0)}
    return [{"truth.json": truth, "found.json": json.dumps(own).encode()}
            for own in (_detections(), by_name, dataset)]  # fmt: skip


@target("results", detections)
def use_results(path: Path) -> None:
    score_detections(path / "found.json", str(path / "truth.json"))


def _voc(root: Path) -> None:
    one = voc_xml([("cat", (2, 3, 20, 21)), ("dog", (5.5, 5, 39, 29))], difficult="1")
    two = voc_xml([("cat", (1, 1, 40, 30))], head='<?xml version="1.0"?>')
    write_voc(root, {"a": one, "b": two, "c": voc_xml([])}, {"train": ["a", "b"], "val": ["c"]})


def _loose_xml(root: Path) -> None:
    for k, name in enumerate(("a", "b")):
        write_picture(root / f"{name}.jpg", size=SIZE)
        (root / f"{name}.xml").write_text(voc_xml([("cat", (2, 3, 20 + k, 21))], None))


def _voc_masks(root: Path) -> None:
    from test_data_mask_formats import add_xml
    from test_data_mask_formats import write_voc as write_masks

    add_xml(write_masks(root))


def _voc_objects(root: Path) -> None:
    from test_instances_data import write_voc_objects

    write_voc_objects(root)


@target(
    "voc",
    lambda folder: seeds_in(folder, _voc, _loose_xml, _voc_masks, _voc_objects),
    keep=(*PICTURES, "*.png"),
)
def use_voc(path: Path) -> None:
    if (path / "SegmentationObject").is_dir():
        attempts([lambda kind=kind: use_data(f"voc:{path}", kind)
                  for kind in ("instance", "segment")])  # fmt: skip
        return
    masks = ("segment",) if (path / "VOCdevkit").is_dir() else ()
    ways: list[Callable[[], object]] = [lambda: open_truth(f"voc:{path}")]
    ways += [lambda kind=kind: use_data(f"voc:{path}", kind)
             for kind in ("detect", "multilabel", *masks)]  # fmt: skip
    attempts(ways)


def _yolo(root: Path) -> None:
    rows = {"a": "0 0.5 0.5 0.25 0.5\n1 0.3 0.3 0.2 0.2\n", "b": "1 0.5 0.5 1 1\n", "c": None}
    write_yolo(root, rows, "path: .\ntrain: images\nval: images\nnames: {0: cat, 1: dog}\n")


def _yolo_outlines(root: Path) -> None:
    outline = "0 0.1 0.1 0.6 0.1 0.6 0.7\n"
    write_yolo(root, {"a": outline, "b": outline * 2}, "train: images\nnc: 1\nnames: [cat]\n")


def _darknet(root: Path) -> None:
    for name in ("a", "b"):
        write_picture(root / "data" / f"{name}.jpg", size=SIZE)
        (root / "data" / f"{name}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (root / "obj.names").write_text("cat\ndog\n")
    (root / "train.txt").write_text("data/a.jpg\ndata/b.jpg\n")
    (root / "obj.data").write_text("classes = 2\ntrain = train.txt\nnames = obj.names\n")


def _named_yolo(root: Path) -> None:
    write_yolo(root, {"a": "0 0.5 0.5 0.25 0.5\n", "b": "1 0.5 0.5 0.25 0.5\n"})
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("cat\ndog\n")


@target(
    "yolo",
    lambda folder: seeds_in(folder, _yolo, _yolo_outlines, _darknet, _named_yolo),
    keep=PICTURES,
)
def use_yolo(path: Path) -> None:
    spec = f"yolo:{path}"
    attempts([lambda: use_data(spec)], [lambda: use_data(spec, "instance")])


def _labelme(root: Path) -> None:
    others = [shape("cat", [[10, 10], [14, 10]], "circle"), shape("cat", [[1, 1]], "point"),
              shape("dog", [[1, 1], [9, 9], [9, 3]], "linestrip")]  # fmt: skip
    write_labelme(root, "a", [RECTANGLE, TRIANGLE, *others], flags={"night": True})
    write_labelme(root, "bb", [TRIANGLE])


@target("labelme", lambda folder: seeds_in(folder, _labelme), keep=PICTURES)
def use_labelme(path: Path) -> None:
    spec = f"labelme:{path}"
    attempts([lambda kind=kind: use_data(spec, kind) for kind in ("detect", "segment", "instance")])


def _via(form: str) -> Any:
    outline = {
        "shape_attributes": {"name": "polygon", "all_points_x": [40, 58, 58],
                             "all_points_y": [10, 10, 39]},
        "region_attributes": {"kind": "dog"},
    }  # fmt: skip
    regions = {"a.jpg": [region([10, 5, 20, 15], kind="cat"), outline], "bb.jpg": []}
    return lambda root: write_via(root, regions, form)


@target(
    "via",
    lambda folder: seeds_in(folder, *map(_via, ("json", "project", "one", "csv"))),
    keep=PICTURES,
)
def use_via(path: Path) -> None:
    spec = f"via:{path}"
    attempts([lambda kind=kind: use_data(spec, kind) for kind in ("detect", "segment", "instance")])


def _box_table(root: Path) -> None:
    rows = [f"{name},50,40,{label},{','.join(map(str, box))}" for name, label, box in ROWS]
    write_boxes(root, "filename,width,height,class,xmin,ymin,xmax,ymax", rows)


def _wheat(root: Path) -> None:
    """A list in one cell, as in the competition on wheat."""
    rows = [f'{n},50,40,"[{x1}, {y1}, {x2 - x1}, {y2 - y1}]",{label}'
            for n, label, (x1, y1, x2, y2) in ROWS]  # fmt: skip
    write_boxes(root, "image_id,width,height,bbox,class", rows)


@target("box_tables", lambda folder: seeds_in(folder, _box_table, _wheat), keep=PICTURES)
def use_box_tables(path: Path) -> None:
    use_data(f"boxes:{path}")
