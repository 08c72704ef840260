"""`xfer data show` of boxes: counts, sizes, shapes, drawings; packs of boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from box_files import coco_document, write_coco, write_json
from pictures import write_folder
from PIL import Image

from xfer.cli.app import main
from xfer.data.open import open_data, show
from xfer.data.pack.writer import Packing, pack
from xfer.kinds.annotation import annotation, boxes_of
from xfer.kinds.box_stats import collect, per_class, summary
from xfer.testing.source import check_source


def test_boxes_are_counted_by_class_and_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, 3, split="val2017")
    assert main(["data", "show", str(tmp_path), "--json", "--list"]) == 0
    splits = json.loads(capsys.readouterr().out)["splits"]
    train = splits["train"]
    assert train["images"] == 4 and train["classes"] == {"cat": 3, "dog": 2}  # no crowds
    assert train["items"][3] == ["0003.jpg", ["cat", "dog"]]
    assert train["boxes"]["count"] == 5 and train["boxes"]["crowd"] == 1
    assert train["boxes"]["empty_images"] == 1 and train["boxes"]["most_in_an_image"] == 2
    assert train["boxes"]["width"] == dict.fromkeys(
        ("0%", "5%", "25%", "50%", "75%", "95%", "100%"), 10.5
    )
    assert train["boxes"]["aspect"]["50%"] == pytest.approx(10.5 / 8)
    assert train["boxes"]["side"]["50%"] == pytest.approx((84 / 1200) ** 0.5, abs=1e-4)
    assert main(["data", "show", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "width / height" in shown and "empty images" in shown


def test_quantiles_are_numpys(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 10, (60, 2)), rng.uniform(1, 15, (60, 2))], 1)
    annotations = [
        {"id": k, "image_id": 3, "category_id": 5 + 85 * (k % 3 == 0), "bbox": box}
        for k, box in enumerate(boxes.tolist())
    ]
    write_coco(tmp_path, annotations=annotations)
    bundle = open_data(str(tmp_path), val="none")
    found = collect(bundle.splits["train"])
    told = summary(found)
    for key, values in (("width", boxes[:, 2]), ("height", boxes[:, 3]),
                        ("aspect", boxes[:, 2] / boxes[:, 3])):  # fmt: skip
        assert told[key]["95%"] == pytest.approx(np.quantile(values, 0.95), abs=1e-4)
    assert per_class(found, bundle.classes) == {"cat": 40, "dog": 20}
    assert told["small"] == 60 and told["large"] == 0


def test_a_val_without_boxes_has_no_quantiles(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, 1, split="val2017")
    val = show(open_data(str(tmp_path)))["splits"]["val"]
    assert val["boxes"]["count"] == 0 and val["boxes"]["width"] is None
    assert main(["data", "show", str(tmp_path)]) == 0


@pytest.mark.parametrize("kind", ["detect", "classify"])
def test_samples_are_drawn(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    if kind == "detect":
        write_coco(tmp_path / "data")
        names = {f"train-{i:04d}.png" for i in range(4)} | {"boxes.png"}
    else:
        write_folder(tmp_path / "data", {"train/ant": 3, "train/bee": 3, "val/ant": 1})
        names = {"train.png", "val.png"}
    out = tmp_path / "deep" / "drawn"
    command = ["data", "show", str(tmp_path / "data"), "--draw", str(out), "-q"]
    assert main([*command, *(["--val", "none"] if kind == "detect" else [])]) == 0
    assert {p.name for p in out.iterdir()} == names
    for path in out.iterdir():
        with Image.open(path) as image:
            colours = image.convert("RGB").getcolors(1 << 24)
            assert colours is not None and len(colours) > 5
    file = out / next(iter(names))
    assert main([*command[:4], str(file), "-q"]) == 3
    assert "is a file, not a folder" in capsys.readouterr().err


def test_a_task_and_a_folder_of_pictures_can_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "show", "digits", "--task", "detect", "--limit", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["boxes"]["count"] >= 15
    write_coco(tmp_path)
    (tmp_path / "train2017").rename(tmp_path / "photos")
    file = write_json(tmp_path / "a" / "x.json", coco_document())
    assert main(["data", "show", f"coco:{file}", "--json"]) == 3
    capsys.readouterr()
    command = ["data", "show", f"coco:{file}", "--json", "--images", str(tmp_path / "photos")]
    assert main(command) == 0
    assert sum(
        one["images"] for one in json.loads(capsys.readouterr().out)["splits"].values()
    ) == 4  # fmt: skip


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("side", [0, 15])
def test_a_pack_keeps_boxes_and_areas(tmp_path: Path, raw: bool, side: int) -> None:
    write_coco(tmp_path / "data")
    write_coco(tmp_path / "data", 3, split="val2017")
    pack(tmp_path / "data", tmp_path / "pack", Packing(side=side, raw=raw))
    plain = open_data(tmp_path / "data")
    packed = open_data(tmp_path / "pack", kind="detect")
    assert packed.kind == "detect" and packed.classes == plain.classes
    scale = 0.5 if side else 1
    for role, source in packed.splits.items():
        check_source(source)
        assert list(source.ids) == list(plain.splits[role].ids)
        assert np.array_equal(source.labels(), plain.splits[role].labels())
        for i in range(len(source)):
            own, was = annotation(source, i), annotation(plain.splits[role], i)
            assert own.xyxy == pytest.approx(was.xyxy * scale)
            assert own.area == pytest.approx(was.area * scale**2)
            assert np.array_equal(own.crowd, was.crowd) and np.array_equal(own.labels, was.labels)
            assert own.size == (was.size[0] * scale, was.size[1] * scale)
            assert boxes_of(source[i]).area == pytest.approx(own.area)


def test_a_pack_of_scenes(tmp_path: Path) -> None:
    out = str(tmp_path / "p")
    assert main(["data", "pack", "digits", "-o", out, "--task", "detect", "--side", "0", "-q"]) == 0
    bundle = open_data(out)
    assert bundle.kind == "detect" and len(bundle.splits["train"]) == 600
    check_source(bundle.splits["val"], samples=4)
