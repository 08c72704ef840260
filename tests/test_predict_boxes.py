"""Predicted boxes as rows: json, csv, tables and COCO results."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xfer import kinds
from xfer.cli.app import main
from xfer.errors import XferError
from xfer.inference.model import Predictions
from xfer.types import BoxPrediction, ClassPrediction, Sample

CLASSES = ("cat", "sea lion")


def boxes(name: str, rows: list[tuple[list[float], float, int]]) -> BoxPrediction:
    return BoxPrediction(
        name, np.array([r[0] for r in rows], np.float32).reshape(-1, 4),
        np.array([r[1] for r in rows], np.float32), np.array([r[2] for r in rows], np.int64),
        (100, 200),
    )  # fmt: skip


def predictions(
    items: list[Any], category_ids: tuple[int, ...] = (), kind: str = "detect"
) -> Predictions:
    info, own = SimpleNamespace(classes=CLASSES), kinds.get(kind)
    task: Any = SimpleNamespace(info=info, kind=own, describe=lambda p: own.describe(p, CLASSES))
    samples = tuple(Sample(p.id, np.full((100, 200, 3), 90, np.uint8)) for p in items)
    return Predictions(task, tuple(items), samples, category_ids)


@pytest.fixture
def found() -> Predictions:
    first = boxes("in/000042.jpg", [([10, 20, 40.5, 60], 0.75, 1), ([0, 0, 9, 9], 0.25, 0)])
    return predictions([first, boxes("in/b c.png", [])])


def test_json_has_a_row_a_picture(found: Predictions) -> None:
    assert json.loads(json.dumps(found.to_json())) == [
        {
            "id": "in/000042.jpg",
            "boxes": [
                {"label": "sea lion", "score": 0.75, "box": [10, 20, 40.5, 60]},
                {"label": "cat", "score": 0.25, "box": [0, 0, 9, 9]},
            ],
        },
        {"id": "in/b c.png", "boxes": []},
    ]


def test_csv_has_a_line_a_box(found: Predictions) -> None:
    assert found.to_csv().splitlines() == [
        "id,label,score,x1,y1,x2,y2",
        "in/000042.jpg,sea lion,0.75,10.0,20.0,40.5,60.0",
        "in/000042.jpg,cat,0.25,0.0,0.0,9.0,9.0",
    ]
    assert found.at_least(0.9).to_csv() == "id,label,score,x1,y1,x2,y2\n"


def test_a_table_has_a_line_a_picture_and_counts_sure_boxes(found: Predictions) -> None:
    first, second = found.to_table()
    assert first == {
        "id": "in/000042.jpg", "boxes": 1, "found": "sea lion 1", "best score": 0.75,
    }  # fmt: skip
    assert second["boxes"] == 0 and second["best score"] is None
    assert found.to_table(0.1)[0]["found"] == "sea lion 1, cat 1"


def test_coco_results_have_the_files_own_ids(found: Predictions) -> None:
    (first, second) = found.to_coco()
    assert first == {"image_id": 42, "category_id": 2, "bbox": [10, 20, 30.5, 40], "score": 0.75}
    assert second["category_id"] == 1
    named = predictions([boxes("x/b c.png", [([1, 2, 3, 4], 0.5, 1)])], (3, 90)).to_coco()
    assert (named[0]["image_id"], named[0]["category_id"]) == ("b c.png", 90)


def test_coco_results_are_scored_by_eval(
    found: Predictions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = {
        "images": [{"id": 42, "file_name": "000042.jpg", "width": 200, "height": 100}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "sea lion"}],
        "annotations": [
            {"id": 1, "image_id": 42, "category_id": 2, "bbox": [10, 20, 30.5, 40], "area": 1220}
        ],
    }
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "r.json").write_text(json.dumps(found.to_coco()))
    words = ["--detections", str(tmp_path / "r.json"), "--data", str(tmp_path / "t.json")]
    assert main(["eval", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["coco_ap"] == pytest.approx(1)


def test_what_is_no_box_is_refused() -> None:
    said = ClassPrediction("a", np.array([0.5, 0.5], np.float32))
    classes = predictions([said], kind="classify")
    with pytest.raises(XferError, match="COCO results are boxes"):
        classes.to_coco()
    with pytest.raises(XferError, match="min_score is for boxes"):
        classes.at_least(0.5)


def test_pictures_are_drawn_under_their_names(found: Predictions, tmp_path: Path) -> None:
    written = found.draw(tmp_path)
    assert [p.name for p in written] == ["000042.png", "b c.png"]
    with Image.open(written[0]) as picture:
        assert picture.size == (400, 200) and np.ptp(np.asarray(picture)) > 0
    with Image.open(written[1]) as picture:
        assert (np.asarray(picture) == 90).all()
