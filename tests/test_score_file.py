"""`xfer eval --detections`: results of any tool against true boxes, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import write_coco
from PIL import Image

from xfer.cli.app import main

NAMES = ("a.jpg", "b.jpg", "000007.jpg")
BOX = [10.0, 20.0, 40.0, 30.0]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Three pictures that are nowhere, category ids with a gap."""
    document = {
        "images": [
            {"id": 10 * (i + 1), "file_name": name, "width": 200, "height": 100}
            for i, name in enumerate(NAMES)
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 3, "bbox": BOX, "area": 900, "iscrowd": 0},
            {"id": 2, "image_id": 20, "category_id": 9, "bbox": BOX, "area": 1200, "iscrowd": 0},
        ],
    }
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(document))
    return file


def entry(**changes: Any) -> dict[str, Any]:
    return {"image_id": 10, "category_id": 3, "bbox": BOX, "score": 0.9, **changes}


class Eval:
    """Runs the command on results; what it printed and how it ended."""

    def __init__(self, truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.truth, self.capsys, self.code = truth, capsys, -1

    def __call__(self, results: Any, *words: str, data: str = "") -> dict[str, Any]:
        file = self.truth.with_name("results.json")
        file.write_text(results if isinstance(results, str) else json.dumps(results))
        spec = data or f"coco:{self.truth}"
        self.capsys.readouterr()
        self.code = main(["eval", "--detections", str(file), "--data", spec, "--json", *words])
        shown = self.capsys.readouterr()
        self.err = shown.err
        assert "Traceback" not in self.err
        return json.loads(shown.out) if self.code == 0 else {}


@pytest.fixture
def score(truth: Path, capsys: pytest.CaptureFixture[str]) -> Eval:
    return Eval(truth, capsys)


def test_results_are_scored_without_pictures(score: Eval, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = score([entry(), entry(image_id=20, category_id=9)], "--out", str(out))
    assert found["metrics"]["coco_ap"] == pytest.approx(1)
    assert found["metrics"]["coco_ap_small"] == pytest.approx(1)  # the file's area, not the box's
    assert found["primary"] == "coco_ap" and found["images"] == 3 and found["warnings"] == []
    assert json.loads((out / "result.json").read_text()) == found
    assert (out / "classes.txt").read_text() == "cat\ndog\n"
    for name in ("precision_recall.png", "errors.png"):
        with Image.open(out / "plots" / name) as picture:
            assert picture.width > 300
    assert not score([entry()], "--out", str(out)) and score.code == 2
    assert "--overwrite" in score.err
    (tmp_path / "classes.txt").write_text("of a data set\n")
    assert not score([entry()], "--out", str(tmp_path), "--overwrite") and score.code == 2
    assert (tmp_path / "classes.txt").read_text() == "of a data set\n"
    again = score([entry()], "--out", str(out), "--overwrite")
    assert json.loads((out / "result.json").read_text()) == again != found


def test_a_table_is_printed_for_people(
    truth: Path, score: Eval, capsys: pytest.CaptureFixture[str]
) -> None:
    score([entry()])
    words = ["eval", "--detections", str(truth.with_name("results.json")), "--data", str(truth)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    for text in ("3 pictures", "coco_ap_large", "voc_ap50_11pt", "costs AP50", "miss"):
        assert text in shown


@pytest.mark.parametrize("image_id", [10, 10.0, "10", "a.jpg", "a", "b/a.png"])
def test_pictures_are_known_by_id_and_by_name(score: Eval, image_id: Any) -> None:
    assert score([entry(image_id=image_id)])["metrics"]["per_class"]["cat"]["ap50"] > 0.99


def test_a_stem_that_is_a_number_is_no_id_of_a_coco_file(score: Eval) -> None:
    assert not score([entry(image_id=7)]) and score.code == 3
    assert score([entry(image_id="000007")])["metrics"]["coco_ap"] == 0


def test_pictures_called_by_the_ids_of_others_are_warned_of(score: Eval) -> None:
    """20.jpg with the id 10: `xfer predict`, which knows no ids, would call it 20."""
    document = json.loads(score.truth.read_text())
    document["images"][0]["file_name"] = "20.jpg"
    score.truth.write_text(json.dumps(document))
    (warning,) = score([entry(image_id=20)])["warnings"]
    assert warning.endswith("have a file name that is the id of another: 20.jpg")
    assert score([entry(image_id="20.jpg")])["warnings"] == []
    assert score([entry(), entry(image_id=20)])["warnings"] == []  # no file is called 10


def test_numbers_that_are_only_names_of_files_are_names(score: Eval) -> None:
    """A file a number below its id: all but one of these are ids too."""
    document = json.loads(score.truth.read_text())
    for k, image in enumerate(document["images"]):
        image.update(id=k + 4, file_name=f"pics/{k + 3:06d}.jpg")
    for k, one in enumerate(document["annotations"]):
        one["image_id"] = k + 4
    score.truth.write_text(json.dumps(document))
    result = score([entry(image_id=3), entry(image_id=4, category_id=9)])
    assert result["metrics"]["coco_ap"] > 0.99
    assert any("is read as the name of the file" in line for line in result["warnings"])
    result = score([entry(image_id=4), entry(image_id=6, category_id=9)])  # ids alone
    assert result["warnings"] == [] and result["metrics"]["per_class"]["cat"]["ap50"] > 0.99


def test_annotations_with_scores_are_results(score: Eval) -> None:
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    results = {"categories": categories, "annotations": [entry(category_id=2)]}
    assert score(results)["metrics"]["per_class"]["cat"]["ap50"] > 0.99


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ("[{", "not valid JSON"),
        ("{}", "not COCO results"),
        ("7", "not COCO results"),
        ([[1, 2]], "entry 0 of 1 is a list"),
        ([entry(), {"image_id": 1}], "entry 1 of 2 has no category_id, bbox, score"),
        ([entry(score=None)], "its score is None, not a finite number"),
        ("[" + json.dumps(entry(score=0)).replace('"score": 0', '"score": NaN') + "]", "is nan"),
        ([entry(), entry(bbox=[1, 2, 3])], "entry 1 of 2: its bbox is [1, 2, 3], not four"),
        ([entry(bbox=[1, 2, 3, "four"])], "not four finite numbers"),
        ([entry(image_id=None)], "its image_id is None"),
        ([entry(image_id=[1])], "its image_id is [1]"),
        ([{k: v for k, v in entry().items() if k != "score"}], "no entry has a score"),
        ([entry(image_id=99)], "none of its pictures is in the data: image_id 99"),
        ([entry(category_id=1)], "none of its classes is in the data: category_id 1"),
        ({"categories": [{"id": 1, "name": "dgo"}], "annotations": [entry()]}, "dgo"),
    ],
)
def test_broken_results_are_told_in_two_lines(score: Eval, results: Any, told: str) -> None:
    assert not score(results) and score.code == 3
    assert told in score.err and len(score.err.strip().splitlines()) <= 2


def test_odd_results_are_scored_with_a_warning(score: Eval) -> None:
    found = score([])
    assert found["metrics"]["coco_ap"] == 0 and "no detections" in score.err
    strange = [entry(), entry(image_id=77), entry(image_id=77), entry(category_id=1)]
    (pictures, classes) = score(strange)["warnings"]
    assert "2 detections of 1 pictures" in pictures and "image_id 77" in pictures
    assert "1 detections of 1 classes" in classes and "category_id 1" in classes
    (again,) = score([entry(), entry(), entry(image_id=20, category_id=9)])["warnings"]
    assert "1 duplicate detections" in again
    (flat,) = score([entry(), entry(bbox=[1, 1, 0, 5])])["warnings"]
    assert "1 boxes have no area" in flat
    corners = [entry(bbox=[120 + i, 60, 160 + i, 90]) for i in range(20)]
    assert "look like x1, y1, x2, y2" in score(corners)["warnings"][0]


@pytest.mark.parametrize(
    "words",
    [
        ["eval"],
        ["eval", "--detections", "r.json"],
        ["eval", "run", "--detections", "r.json", "--data", "d"],
        ["eval", "--detections", "r.json", "--data", "d", "--tta", "flip"],
        ["eval", "run", "--out", "e"],
    ],
)
def test_words_that_do_not_go_together_end_with_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_missing_file_ends_with_3(truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "--detections", "nowhere.json", "--data", str(truth)]
    assert main(words) == 3 and "nowhere.json" in capsys.readouterr().err


def test_a_split_whose_file_names_fewer_classes_or_in_another_way_is_scored(
    score: Eval, tmp_path: Path
) -> None:
    """Classes that only train's file has are known by its ids, where val's are not the same."""
    write_coco(tmp_path / "set")  # 5 is cat, 90 dog
    small = [2.0, 3.0, 20.0, 15.0]
    boxes = [{"id": 1, "image_id": 3, "category_id": 7, "bbox": small}]
    for name in ("cat", "CAT"):
        categories = [{"id": 7, "name": name}]
        write_coco(tmp_path / "set", split="val2017", categories=categories, annotations=boxes)
        results = [
            entry(image_id=3, category_id=7, bbox=small),
            entry(image_id=3, category_id=90, bbox=small),
        ]
        found = score(results, "--split", "val", data=str(tmp_path / "set"))
        assert found["metrics"]["per_class"]["cat"]["voc_ap50_area"] == 1
        assert not [line for line in found["warnings"] if "classes" in line]
        assert not score([entry(image_id=3, category_id=5, bbox=small)], "--split", "val",
                         data=str(tmp_path / "set"))  # fmt: skip
        assert "category_id 5" in score.err


def test_voc_folders_are_scored_by_file_name(score: Eval, tmp_path: Path) -> None:
    folder = tmp_path / "voc"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    picture = Image.fromarray(np.zeros((100, 200, 3), np.uint8))
    for stem, kind, hard in (("000001", "cat", 0), ("000002", "dog", 0), ("000003", "cat", 1)):
        picture.save(folder / "JPEGImages" / f"{stem}.jpg")
        (folder / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation><filename>{stem}.jpg</filename><size><width>200</width>"
            f"<height>100</height><depth>3</depth></size><object><name>{kind}</name>"
            f"<difficult>{hard}</difficult><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax>"
            "<ymax>50</ymax></bndbox></object></annotation>"
        )
    (folder / "ImageSets" / "Main" / "test.txt").write_text("000001\n000002\n000003\n")
    results = [
        entry(image_id=1, category_id=1), entry(image_id="000002", category_id=2),
        entry(image_id="000003.jpg", category_id=1, score=0.95),
    ]  # fmt: skip
    found = score(results, data=f"voc:{folder}")
    assert found["warnings"] == []
    assert found["primary"] == "voc_ap50_area" and found["split"] == "test"
    assert found["metrics"]["voc_ap50_area"] == 1 and found["metrics"]["coco_ap"] > 0.99
    assert found["metrics"]["per_class"]["cat"]["n"] == 1


@pytest.mark.data
def test_known_values_of_another_tool_come_out(score: Eval, picture_data: Path) -> None:
    folder = picture_data / "eval-fixtures" / "rodm-test_coco_eval"
    results = (folder / "dets" / "sampled_bbox_results.json").read_text()
    found = score(results, data=f"coco:{folder / 'gts' / 'sampled_gts_bbox_area.json'}")
    expected = json.loads((folder / "expected.json").read_text())["bbox"]
    figures = [v for k, v in found["metrics"].items() if k.startswith("coco_")]
    assert figures == pytest.approx(list(expected.values()), abs=1e-6)
    voc = picture_data / "voc-mini" / "detections"
    found = score((voc / "dets_coco.json").read_text(), data=str(voc / "gt_coco.json"))
    expected = json.loads((voc / "expected_pycocotools.json").read_text())["values"]
    figures = [v for k, v in found["metrics"].items() if k.startswith("coco_")]
    assert figures == pytest.approx(expected, abs=1e-6)


# --- numbers of classes


def numbered(first: int, classes: int = 3, count: int = 12) -> list[dict[str, Any]]:
    """Detections that fit the boxes of `many`, with classes counted from `first`."""
    return [entry(image_id=i + 1, category_id=i % classes + first) for i in range(count)]


def many(file: Path, ids: list[int], count: int = 12) -> Path:
    """A truth of one box per picture, with these ids of classes."""
    names = [{"id": key, "name": f"class {key}"} for key in ids]
    boxes = [{"id": i + 1, "image_id": i + 1, "category_id": ids[i % len(ids)], "bbox": BOX,
              "area": 900, "iscrowd": 0} for i in range(count)]  # fmt: skip
    images = [{"id": i + 1, "file_name": f"p{i}.jpg", "width": 200, "height": 100}
              for i in range(count)]  # fmt: skip
    file.write_text(json.dumps({"images": images, "categories": names, "annotations": boxes}))
    return file


@pytest.mark.parametrize(
    ("ids", "first"),
    [([1, 2, 3], 0), ([0, 1, 2], 1), ([1, 4, 9], 0), ([2, 4, 9], 1), ([7, 8, 9], 0)],
)
def test_classes_may_be_counted_by_place(
    score: Eval, tmp_path: Path, ids: list[int], first: int
) -> None:
    data = many(tmp_path / "many.json", ids)
    found = score(numbered(first), data=str(data))
    assert found["metrics"]["coco_ap"] == pytest.approx(1)
    (line,) = found["warnings"]
    assert f"category_id counts the classes from {first}" in line


@pytest.mark.parametrize("ids", [[1, 2, 3], [0, 1, 2], [1, 4, 9]])
def test_the_datas_own_numbers_are_left_alone(score: Eval, tmp_path: Path, ids: list[int]) -> None:
    data = many(tmp_path / "many.json", ids)
    own = [entry(image_id=i + 1, category_id=ids[i % 3]) for i in range(12)]
    found = score(own, data=str(data))
    assert found["metrics"]["coco_ap"] == pytest.approx(1) and found["warnings"] == []
    # one more class, for the background, is no shift
    found = score([*own, entry(image_id=1, category_id=99)], data=str(data))
    assert found["metrics"]["coco_ap"] == pytest.approx(1)
    assert "category_id 99" in found["warnings"][0]


def test_a_zero_for_background_is_no_shift(score: Eval, tmp_path: Path) -> None:
    """Most boxes agree with the numbers as they are."""
    data = many(tmp_path / "many.json", [1, 2, 3])
    rows = [row | {"category_id": min(row["category_id"], 2)} for row in numbered(1)]
    found = score([*rows, entry(image_id=1, category_id=0, score=0.1)], data=str(data))
    assert found["metrics"]["coco_ap50"] > 0.5
    assert "category_id 0" in found["warnings"][0] and "are left out" in found["warnings"][0]


def test_numbers_that_fit_both_ways_are_kept_and_told(score: Eval, tmp_path: Path) -> None:
    data = many(tmp_path / "many.json", [1, 2, 3, 4])
    rows = [row for row in numbered(0, 4) if row["category_id"] in (1, 2, 3)]
    found = score(rows, data=str(data))
    assert found["metrics"]["coco_ap"] == 0
    assert any("agree with their classes only if" in line for line in found["warnings"])


def test_detections_as_corners_are_read_as_corners(score: Eval, tmp_path: Path) -> None:
    data = many(tmp_path / "many.json", [1, 2, 3])
    document = json.loads(data.read_text())
    for i, one in enumerate(document["annotations"]):
        one["bbox"] = [100.0 + i, 40, 40, 30]
    data.write_text(json.dumps(document))
    rows = [entry(image_id=i + 1, category_id=i % 3 + 1, bbox=[100 + i, 40, 140 + i, 70])
            for i in range(12)]  # fmt: skip
    found = score(rows, data=str(data))
    assert found["metrics"]["coco_ap"] == pytest.approx(1)
    assert "so they are read as x1, y1, x2, y2" in found["warnings"][0]


def test_crowds_written_as_text_are_no_crowds(score: Eval, tmp_path: Path) -> None:
    data = many(tmp_path / "many.json", [1, 2, 3])
    data.write_text(data.read_text().replace('"iscrowd": 0', '"iscrowd": "0"'))
    rows = [row | {"bbox": [str(n) for n in BOX], "score": "0.5"} for row in numbered(1)]
    assert score(rows, data=str(data))["metrics"]["coco_ap"] == pytest.approx(1)


def apart(file: Path, first: int = 1, count: int = 12) -> Path:
    """A truth of one box per picture, each in another place."""
    data = json.loads(many(file, [1, 2, 3]).read_text())
    for i, (image, box) in enumerate(zip(data["images"], data["annotations"], strict=True)):
        image["id"] = box["image_id"] = i + first
        box["bbox"] = [12.0 * i, 20, 10, 30]
    file.write_text(json.dumps(data))
    return file


@pytest.mark.parametrize(("truth_from", "results_from"), [(1, 0), (0, 1), (500, 0), (1, 1)])
def test_pictures_may_be_counted_by_place(
    score: Eval, tmp_path: Path, truth_from: int, results_from: int
) -> None:
    data = apart(tmp_path / "apart.json", truth_from)
    rows = [entry(image_id=i + results_from, category_id=i % 3 + 1, bbox=[12.0 * i, 20, 10, 30])
            for i in range(12)]  # fmt: skip
    found = score(rows, data=str(data))
    assert found["metrics"]["coco_ap"] == pytest.approx(1)
    told = f"image_id counts the pictures from {results_from}"
    assert any(told in line for line in found["warnings"]) == (truth_from != results_from)


def test_a_picture_too_many_is_no_shift(score: Eval, tmp_path: Path) -> None:
    """Most detections lie on true boxes by the data's ids; image 0 is of another set."""
    data = apart(tmp_path / "apart.json")
    rows = [entry(image_id=i + 1, category_id=i % 3 + 1, bbox=[12.0 * i, 20, 10, 30])
            for i in range(11)]  # fmt: skip
    found = score([*rows, entry(image_id=0, category_id=1)], data=str(data))
    assert found["metrics"]["coco_ap50"] > 0.8
    assert "image_id 0" in found["warnings"][0] and "are left out" in found["warnings"][0]


def test_classes_may_be_given_by_name(score: Eval) -> None:
    found = score([entry(category_id="cat"), entry(image_id=20, category_id="dog")])
    assert found["metrics"]["coco_ap"] == pytest.approx(1) and found["warnings"] == []


def test_a_truth_of_crowds_alone_is_told(score: Eval, tmp_path: Path) -> None:
    data = many(tmp_path / "many.json", [1, 2, 3])
    data.write_text(data.read_text().replace('"iscrowd": 0', '"iscrowd": 1'))
    assert not score(numbered(1), data=str(data)) and score.code == 3
    assert "all 12 boxes are crowds (iscrowd) or difficult" in score.err
