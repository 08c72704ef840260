"""A probe run predicts, is scored and loaded like any other; nets and layers are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_nets import tiny

import xfer
from xfer.cli.app import main
from xfer.errors import DataError, XferError
from xfer.extraction.store import read_features
from xfer.probing.compare import compare_nets

NET = "tiny_nets:tiny"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy reddish and bluish pictures, 12 of each in train and 6 in val."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for name, tint in (("blue", (0, 0, 60)), ("red", (60, 0, 0))):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(0, 150, (36, 40, 3)) + np.array(tint)
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({k: v.contiguous() for k, v in tiny().state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def run(pictures: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`xfer features`, then `xfer probe`."""
    here = tmp_path_factory.mktemp("run")
    file, out = here / "f.npz", here / "probe"
    words = ["--backbone", NET, "--weights", str(weights), "--layer", "conv2", "--crops", "flip"]
    form = ["--pool", "avg", "--data", str(pictures), "-o", str(file), "--device", "cpu"]
    assert main(["features", *words, *form, "-q"]) == 0
    assert main(["probe", str(file), "--out", str(out), "-q"]) == 0
    return out


def test_the_probe_of_a_folder_of_pictures_tells_them_apart(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert result["metrics"]["top1"] > 0.8
    assert result["backbone"] == NET
    assert "crops flip" in result["protocol"]["features"]


def test_eval_of_a_probe_gives_the_scores_that_it_was_left_with(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(run), "--json", "--workers", "0", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    kept = json.loads((run / "result.json").read_text())["metrics"]
    assert found["split"] == "val" and found["images"] == 12
    assert found["metrics"]["top1"] == kept["top1"]
    assert found["metrics"]["loss"] == pytest.approx(kept["loss"], rel=1e-2, abs=1e-3)
    assert "flip crops" in found["protocol"]["views"]
    assert main(["eval", str(run), "--tta", "flip", "--workers", "0"]) == 2
    assert "crops that its features were made with" in capsys.readouterr().err


def test_a_probe_is_scored_again_on_the_pictures_it_was_made_of(
    pictures: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--backbone", NET, "--weights", str(weights), "--layer", "conv2", "--pool", "avg"]
    some = ["--data", f"folder:{pictures}", "--limit", "7", "--seed", "3", "--device", "cpu"]
    file, out = str(tmp_path / "f.npz"), tmp_path / "probe"
    assert main(["features", *words, *some, "-o", file, "-q"]) == 0
    assert main(["probe", file, "--out", str(out), "-q"]) == 0
    capsys.readouterr()
    assert main(["eval", str(out), "--json", "-q", "--device", "cpu"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["images"] == 7
    told = json.loads((out / "result.json").read_text())["metrics"]
    assert again["metrics"]["loss"] == pytest.approx(told["loss"], rel=1e-4)


def test_a_probe_on_the_classes_of_boxes_is_scored_on_boxes(
    pictures: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((pictures / "train").rglob("*.png"))
    content: dict[str, Any] = {
        "images": [
            {"id": i, "file_name": str(f), "width": 40, "height": 36} for i, f in enumerate(files)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1 + (f.parent.name == "red"),
             "bbox": [2, 3, 20, 20], "area": 400, "iscrowd": 0}
            for i, f in enumerate(files)
        ],
        "categories": [{"id": 1, "name": "blue"}, {"id": 2, "name": "red"}],
    }  # fmt: skip
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    data, file, out = f"coco:{tmp_path / 'boxes.json'}", str(tmp_path / "f.npz"), tmp_path / "probe"
    words = ["--backbone", NET, "--weights", str(weights), "--layer", "conv2", "--pool", "avg"]
    assert main(["features", *words, "--data", data, "-o", file, "-q", "--device", "cpu"]) == 0
    assert main(["probe", file, "--out", str(out), "-q"]) == 0
    capsys.readouterr()
    for more in ([], ["--data", data]):
        assert main(["eval", str(out), *more, "--json", "-q", "--device", "cpu"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["images"] == 24 and found["metrics"]["map"] > 0.9


def test_a_loaded_probe_predicts_paths_and_arrays(run: Path, pictures: Path) -> None:
    model = xfer.load(run, device="cpu")
    assert model.classes == ("blue", "red")
    folder = pictures / "val" / "red"
    found = model.predict(folder)
    rows = found.rows()
    assert len(rows) == 6 and all(set(row["scores"]) == {"blue", "red"} for row in rows)
    lines = (run / "predictions" / "val.csv").read_text().splitlines()
    said = {line.split(",")[0]: line.split(",")[2] for line in lines[1:]}
    for row in rows:
        assert said[f"val/red/{Path(row['id']).name}"] == row["label"]
    array = np.asarray(Image.open(folder / "0.png"))
    again = model.predict(array).rows()[0]
    assert again["score"] == pytest.approx(rows[0]["score"], rel=1e-2)
    with pytest.raises(XferError, match="not trained by steps"):
        model.task(None)


def test_a_probe_whose_weights_have_changed_says_so(
    run: Path, weights: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = weights.read_bytes()
    try:
        save_file({k: v.contiguous() * 2 for k, v in tiny().state_dict().items()}, weights)
        with pytest.raises(DataError, match="not the file that the probe's features"):
            xfer.load(run, device="cpu")
        weights.unlink()
        assert main(["predict", str(run), str(pictures / "val" / "red" / "0.png")]) == 3
        assert weights.name in capsys.readouterr().err
    finally:
        weights.write_bytes(good)


def test_all_layers_of_the_nets_are_compared(
    pictures: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "c"
    words = ["probe", "--compare", "--data", str(pictures), "--backbones", f"{NET},{NET}",
             "--weights", f"none,{weights}", "--device", "cpu", "--out", str(out)]  # fmt: skip
    assert main(words) == 0
    shown = capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    rows = result["rows"]
    assert [row["layer"] for row in rows] == ["conv1", "conv2"] * 2
    assert [row["width"] for row in rows] == [32, 64] * 2
    assert result["best"]["top1"] == max(row["top1"] for row in rows) > 0.8
    assert (out / "layers.csv").read_text().count("\n") == 5
    assert (out / "layers.png").read_bytes()[:4] == b"\x89PNG"
    assert main(words) == 2
    assert "holds a comparison" in capsys.readouterr().err
    # the printed commands are the ones that use the best row
    monkeypatch.chdir(tmp_path)
    import shlex

    for line in result["commands"]:
        assert line in shown
        assert main([*shlex.split(line)[1:], "-q"]) == 0
    used = json.loads(next((tmp_path / "runs").glob("*/result.json")).read_text())
    assert used["metrics"]["top1"] == result["best"]["top1"]
    assert used["layer"] == result["best"]["layer"]


def test_a_net_is_run_once_over_the_pictures(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xfer.probing import compare

    calls: list[Any] = []
    real = compare.extract

    def counted(*words: Any, **options: Any) -> Any:
        calls.append(options["choice"].layers)
        return real(*words, **options)

    monkeypatch.setattr(compare, "extract", counted)
    found = compare_nets(
        str(pictures), [NET], weights=["none"], device="cpu", clf="ridge", pool="avg"
    )
    assert calls == [("conv1", "conv2")] and len(found["rows"]) == 2


def test_wrong_comparisons_are_refused(pictures: Path, tmp_path: Path) -> None:
    def compared(**options: Any) -> Any:
        return compare_nets(str(pictures), [NET], weights=["none"], device="cpu", **options)

    with pytest.raises(XferError, match="conv9"):
        compared(layers=["conv9"])
    with pytest.raises(XferError, match="2 weights for 1 nets"):
        compare_nets(str(pictures), [NET], weights=["none", "imagenet"])
    with pytest.raises(DataError, match="is a file, not a folder"):  # before data are looked for
        compare_nets("nowhere", [NET], weights=["none"], out=f"{__file__}/out")
    with pytest.raises(XferError, match="choose from flatten"):
        compared(pool="mean")
    (tmp_path / "x.txt").write_text("mine")
    with pytest.raises(XferError, match="not empty and not a comparison"):
        compared(out=tmp_path, overwrite=True)


@pytest.mark.data
@pytest.mark.slow
def test_a_probe_on_pool5_of_ants_and_bees_is_right_nine_times_in_ten(
    picture_data: Path, tmp_path: Path
) -> None:
    folder = picture_data / "weights" / "alexnet_torchvision_features"
    file = tmp_path / "f.npz"
    words = ["--backbone", "alexnet", "--weights", str(folder / "features.npz"), "--layer", "pool5"]
    data = str(picture_data / "hymenoptera")
    assert main(["features", *words, "--data", data, "-o", str(file), "-q"]) == 0
    assert main(["probe", str(file), "--clf", "logreg", "--out", str(tmp_path / "p"), "-q"]) == 0
    result = json.loads((tmp_path / "p" / "result.json").read_text())
    assert result["metrics"]["top1"] >= 0.9
    assert len(read_features(file)) == 397
