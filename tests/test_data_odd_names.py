"""Names, numbers and sizes that a file may hold but that nothing can have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from box_files import coco_document, voc_xml, write_coco, write_voc, write_yolo
from imagenet_sets import jpeg, tar_bytes
from pictures import write_folder
from test_data_drawn import RECTANGLE, write_labelme

from xfer.data.images.decode import DecodeError
from xfer.data.images.walk import readable
from xfer.data.open import open_data
from xfer.data.readers.coco.segment import Outline, draw_objects
from xfer.data.sources.base import stamp
from xfer.data.sources.from_python import as_source
from xfer.data.sources.masks import file_stamp
from xfer.data.sources.written import MAX_SIDE, picture_size, plain_id, whole_number
from xfer.data.spec import open_spec
from xfer.errors import DataError, XferError
from xfer.inference.ground_truth import open_truth
from xfer.inference.model import gather_samples

LONG = "x" * 300
IMPOSSIBLE = [LONG, "y" * 5000, "a\0b"]


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_name_that_no_file_can_have_is_not_there(tmp_path: Path, name: str) -> None:
    for call in (open_spec, lambda spec: list(gather_samples([spec]))):
        for spec in (name, str(tmp_path / name)):
            with pytest.raises(DataError, match="no such file"):
                call(spec)
    with pytest.raises(DataError, match="no such file"):
        open_spec(f"csv:{name}")
    with pytest.raises(DataError, match="no such file"):
        open_spec("~nobody-of-this-name/photos")


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_such_a_name_in_a_list_is_left_out_alone(tmp_path: Path, name: str) -> None:
    one = voc_xml([("cat", (2, 3, 20, 21))])
    voc = write_voc(tmp_path / "voc", {"a": one, "b": one}, {"train": ["a", "b", name]})
    yolo = write_yolo(
        tmp_path / "yolo", {"a": "0 0.5 0.5 1 1", "b": "1 0.5 0.5 1 1"},
        "train: train.txt\nnames: [cat, dog]\n",
    )  # fmt: skip
    (yolo / "train.txt").write_text(f"images/a.jpg\nimages/b.jpg\nimages/{name}.jpg\n")
    table = write_folder(tmp_path / "csv", {"pics": 4}) / "labels.csv"
    rows = [f"pics/{i}.jpg,{'ab'[i % 2]}" for i in range(4)]
    table.write_text("\n".join(["filename,label", *rows, f"pics/{name}.jpg,a"]) + "\n")
    for spec, count in ((f"voc:{voc}", 2), (f"yolo:{yolo}", 2), (f"csv:{table}", 4)):
        if spec.startswith("csv") and "\0" in name:
            continue  # such a table is not one of text
        with pytest.raises(XferError):
            open_data(spec, val="none")
        bundle = open_data(spec, val="none", skip_bad=True)
        assert len(bundle.splits["train"]) == count
        assert len(bundle.skipped) == 1


def test_a_number_of_thousands_of_digits_is_a_name(tmp_path: Path) -> None:
    many = "9" * 5000
    assert plain_id(many) == many and whole_number(many) is None and whole_number("²") is None
    assert (plain_id("12"), whole_number("007")) == (12, 7)
    document = coco_document(2)
    document["images"][0] |= {"id": many, "file_name": f"{many}.jpg"}
    document["annotations"][0]["image_id"] = document["images"][1]["id"]
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(document))
    assert open_truth(str(file)).images[many] == 0


@pytest.mark.parametrize("side", ["1e999", "-3", "0", "9e99", "[]", '"wide"', "true"])
def test_a_size_that_no_picture_has_is_unknown(tmp_path: Path, side: str) -> None:
    assert picture_size(10, json.loads(side)) == (0, 0)
    assert picture_size("10", 12.7) == (10, 12) and picture_size(1, MAX_SIDE)[1] == MAX_SIDE
    write_labelme(tmp_path, "a", [RECTANGLE])
    write_labelme(tmp_path, "bb", [RECTANGLE], imageWidth=json.loads(side))
    assert len(open_data(str(tmp_path), val="none", kind="detect").splits["train"]) == 2


@pytest.mark.parametrize("name", [*IMPOSSIBLE, "\ud800"])
def test_a_source_of_such_names_says_which(name: str) -> None:
    source = as_source([(f"{name}.jpg", "a"), (f"{name}.jpg", "b")], "data")
    assert source.fingerprint() and stamp(source, 0) is None
    with pytest.raises(DecodeError, match=r"no file can have this name|File name too long"):
        source[1]
    assert file_stamp(Path(name)).endswith("gone")


def test_half_a_pair_of_surrogates_is_no_text(tmp_path: Path) -> None:
    assert readable("\ud800.jpg") == "\\ud800.jpg" and readable("\udcff") == "\\xff"
    write_coco(tmp_path, categories=[{"id": 5, "name": "\ud800"}, {"id": 90, "name": "dog"}])
    with pytest.raises(DataError, match=r"the name of a class is not text: '\\ud800'"):
        open_data(str(tmp_path), val="none")


def test_a_label_in_a_tar_is_a_number_in_digits(tmp_path: Path) -> None:
    content = {"0.jpg": jpeg(), "0.cls": "²".encode(), "1.jpg": jpeg(1), "1.cls": b"1"}
    (tmp_path / "train-0000.tar").write_bytes(tar_bytes(content))
    with pytest.raises(DataError, match="not a whole number"):
        open_data(f"webdataset:{tmp_path}", val="none")


def test_a_split_without_any_class_is_matched(tmp_path: Path) -> None:
    one = voc_xml([("cat", (2, 3, 20, 21))])
    write_voc(tmp_path, {"a": one, "b": voc_xml([])}, {"train": ["a"], "val": ["b"]})
    bundle = open_data(f"voc:{tmp_path}", kind="multilabel", cut=False)
    assert bundle.splits["val"].labels().shape == (1, 1)


@pytest.mark.parametrize(
    ("points", "size"),
    [([0, 0, 1e12, 1e12, 3, 0], (40, 30)), ([0, 0, 9, 9, 9, 0], (1 << 31, 1 << 31))],
)
def test_an_outline_beyond_any_picture_is_refused(
    points: list[float], size: tuple[int, int]
) -> None:
    one = Outline(1, [points], 9.0, False, (0.0, 0.0, 9.0, 9.0))
    with pytest.raises(DataError):
        draw_objects([one], *size)
    assert np.count_nonzero(draw_objects([Outline(1, [[0, 0, 9, 9, 9, 0]], 9, False, (0, 0, 9, 9))],
                                         40, 30)) > 10  # fmt: skip
