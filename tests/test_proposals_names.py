"""Pictures of train and val with equal names keep their own boxes, in every format of the data and
of the proposals; where a file can't tell them apart, it says so."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import coco_document, voc_xml, write_json
from numpy.typing import NDArray
from pictures import write_picture
from scipy.io import savemat

from xfer.cli.app import main
from xfer.data.open import open_data
from xfer.data.readers.base import ReadOptions
from xfer.data.spec import open_spec
from xfer.errors import DataError
from xfer.proposals.files import write_proposals
from xfer.proposals.measure import measure
from xfer.proposals.propose import propose
from xfer.types import Source

SIZE = (40, 30)


def coco(folder: Path) -> None:
    write_json(folder / "_annotations.coco.json", coco_document(3))
    pictures(folder, "{:04d}.jpg")


def voc(folder: Path) -> None:
    pictures(folder, "{:04d}.jpg")
    for i in range(3):
        (folder / f"{i:04d}.xml").write_text(voc_xml([("cat", (2, 3, 12, 11))]))


def labelme(folder: Path) -> None:
    pictures(folder, "{:04d}.jpg")
    for i in range(3):
        shape = {"label": "cat", "points": [[2, 3], [12, 11]], "shape_type": "rectangle"}
        about = {"version": "5", "shapes": [shape], "imagePath": f"{i:04d}.jpg",
                 "imageData": None, "imageHeight": 30, "imageWidth": 40}  # fmt: skip
        write_json(folder / f"{i:04d}.json", about)


def yolo(folder: Path) -> None:
    pictures(folder / "images", "{:04d}.jpg")
    for i in range(3):
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{i:04d}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder.parent / "data.yaml").write_text(
        "train: train/images\nval: valid/images\nnames: [cat, dog]\n"
    )


def pictures(folder: Path, name: str) -> None:
    for i in range(3):
        write_picture(folder / name.format(i), seed=i + 3 * (folder.name == "valid"), size=SIZE)


LAYOUTS = {"coco": coco, "voc": voc, "labelme": labelme, "yolo": yolo}


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(layout: str) -> dict[str, Source]:
    for split in ("train", "valid"):
        LAYOUTS[layout](Path("data") / split)
    return parts_of("data")


def parts_of(spec: str) -> dict[str, Source]:
    return open_spec(spec, ReadOptions(), ("detect",)).reading.parts


def own(i: int) -> NDArray[np.float32]:
    """The box by which a picture is told: of the splits' pictures in a row, the i-th."""
    return np.array([[i, 0, i + 5, 10]], np.float32)


def told(source: Source, file: str = "p.npz") -> list[int]:
    """Whose boxes a source's pictures get from a file."""
    found = propose(source, f"file:{file}")
    return [int(found.of(i)[0, 0]) for i in range(len(source))]


def write(split: str = "") -> None:
    """p.npz as `data proposals` writes it, each picture with its own box."""
    found = measure("data", "grid", split=split)
    meta = {"method": "grid", "root": found.root}
    boxes = [*map(own, range(len(found.ids)))]
    write_proposals(Path("p.npz"), found.ids, boxes, meta, found.names)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_names_in_two_splits_keep_their_own_boxes(at: Path, layout: str) -> None:
    parts = made(layout)
    write()
    for _ in range(2):
        assert [told(part) for part in parts.values()] == [[0, 1, 2], [3, 4, 5]]
        if layout in ("coco", "voc"):  # val is cut from train's files
            cut = open_data("data/train", verify=False, kind="detect").splits
            assert {0, 1, 2} == {i for part in cut.values() for i in told(part)}
            assert len(cut) == 2
        Path("data").rename("moved")
        parts = parts_of("moved")
        assert [told(part) for part in parts.values()] == [[0, 1, 2], [3, 4, 5]]
        shutil.copytree("moved", "data")
        parts = parts_of("data")
        shutil.rmtree("moved")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_boxes_of_one_split_are_not_given_to_the_other(at: Path, layout: str) -> None:
    parts = made(layout)
    write("train")
    assert told(parts["train"]) == [0, 1, 2]
    other = next(part for name, part in parts.items() if name != "train")
    with pytest.raises(DataError, match="no boxes for 3 of 3 pictures") as caught:
        told(other)
    assert "it has 3 pictures: train/" in str(caught.value)


def test_a_pack_of_them_and_their_folder_are_told_apart_alike(at: Path) -> None:
    made("coco")
    assert main(["data", "pack", "data", "-o", "pack", "-q"]) == 0
    assert main(["data", "proposals", "pack", "--method", "grid", "-o", "p.npz", "-q"]) == 0
    content = dict(np.load("p.npz"))
    assert "root" in json.loads(str(content["meta"]))
    ends = np.cumsum([0, *[1] * 6])
    np.savez(
        "p.npz", **{**content, "boxes": np.concatenate([*map(own, range(6))]), "offsets": ends}
    )
    order = [int(name[-5]) + 3 * (not name.startswith("train")) for name in content["names"]]
    for spec in ("pack", "data"):
        found = [told(part) for part in parts_of(spec).values()]
        assert [[order[i] for i in part] for part in found] == [[0, 1, 2], [3, 4, 5]]


def test_a_file_of_an_earlier_version_says_that_names_are_not_clear(at: Path) -> None:
    parts = made("voc")
    write()
    content = dict(np.load("p.npz"))
    del content["names"]
    np.savez("p.npz", **content)
    with pytest.raises(DataError, match="3 of 3 pictures is not clear") as caught:
        told(parts["train"])
    assert "several have the same name: 0000, 0001, 0002" in caught.value.message
    assert "xfer data proposals -o" in str(caught.value)
    few = {"ids": content["ids"][:3], "boxes": content["boxes"][:3], "offsets": np.arange(4)}
    np.savez("p.npz", **few, names=np.array(["cat", "dog"]))  # somebody's own array
    assert told(parts["train"]) == [0, 1, 2]


def of_json(names: list[str]) -> None:
    rows = [{"image_id": name, "category_id": 1, "bbox": [i, 0, 5, 10], "score": 0.5}
            for i, name in enumerate(names)]  # fmt: skip
    write_json(Path("p.json"), rows)


def of_pkl(names: list[str]) -> None:
    content = {"boxes": [*map(own, range(len(names)))], "ids": names}
    Path("p.pkl").write_bytes(pickle.dumps(content))


def of_mat(names: list[str]) -> None:
    def cells(values: list[Any]) -> NDArray[Any]:
        column = np.empty((len(values), 1), object)
        column[:, 0] = values
        return column

    boxes = [own(i)[:, [1, 0, 3, 2]] + np.array([1, 1, 0, 0]) for i in range(len(names))]
    savemat("p.mat", {"boxes": cells(boxes), "images": cells(names)})


def of_npz(names: list[str]) -> None:
    boxes = np.concatenate([*map(own, range(len(names)))])
    np.savez("p.npz", ids=names, boxes=boxes, offsets=np.arange(len(names) + 1))


@pytest.mark.parametrize("write_as", [of_json, of_pkl, of_mat, of_npz])
@pytest.mark.parametrize("ending", ["", ".jpg"])
def test_files_of_others_may_name_pictures_by_their_paths(
    at: Path, write_as: Callable[[list[str]], None], ending: str
) -> None:
    parts = made("voc")
    write_as([f"{split}/{i:04d}{ending}" for split in ("valid", "train") for i in range(3)])
    file = f"p.{write_as.__name__[3:]}"
    assert [told(part, file) for part in parts.values()] == [[3, 4, 5], [0, 1, 2]]
    if write_as is not of_json:  # rows of equal ids are one picture's there
        write_as([f"{i:04d}{ending}" for i in (0, 1, 2, 0, 1, 2)])
        with pytest.raises(DataError, match="not clear"):
            told(parts["train"], file)
