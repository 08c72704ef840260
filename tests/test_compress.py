"""Low-rank layers, and runs that are made thinner by them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from box_files import coco_document, write_coco
from safetensors.torch import load_file, save_file
from torch import nn

import xfer
from xfer.cli.app import main
from xfer.errors import XferError
from xfer.inference.compress import compress, read_ranks
from xfer.nn.low_rank import LowRankLinear, most_useful_rank, ranks_keeping, replace_linear
from xfer.recipe.tables import DataTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.runs.folder import Run
from xfer.train.loop import fit

SMALL = {
    "head_width": 24, "rpn_width": 8, "pool_size": 3, "anchor_count": 3, "regions": 16,
    "rpn_batch": 32, "rpn_train": (100, 40), "rpn_test": (60, 20),
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of one epoch."""
    recipe = Recipe(
        name="test", task="detect", backbone="tiny_nets:tiny", weights="none", task_options=SMALL,
        data=DataTable(source="digits", batch=4, size=64, limit=12, workers=1,
                       crop_area=(1.0, 1.0)),
        optim=OptimTable(name="sgd", lr=1e-2, head_scale=1.0), schedule=ScheduleTable(epochs=1),
        run=RunTable(precision="fp32", plots=False, report=False),
    )  # fmt: skip
    out = tmp_path_factory.mktemp("compress") / "run"
    fit(recipe, out, verbosity=-1)
    return out


def test_what_a_killed_compress_leaves_is_made_again_not_trained(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "thin"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("xfer.inference.compress.write_model", _interrupted)
        compress(run, {"fc6": 2}, out)
    with pytest.raises(XferError, match="`xfer compress` was stopped"):
        fit(resume=out)
    with pytest.raises(XferError, match="unfinished run") as caught:
        compress(run, {"fc6": 2}, out)
    assert "--resume" not in str(caught.value)
    compress(run, {"fc6": 2}, out, overwrite=True)
    assert Run(out).finished


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (20, 20)])
def test_the_approximation_is_the_truncated_svd(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(*shape)
    for rank in (1, 5, min(shape)):
        thin = LowRankLinear.of(linear, rank)
        u, s, v = torch.linalg.svd(linear.weight, full_matrices=False)
        best = u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]
        torch.testing.assert_close(thin.second.weight @ thin.first.weight, best, atol=1e-5, rtol=0)
    x = torch.randn(3, shape[0])
    torch.testing.assert_close(thin(x), linear(x), atol=1e-5, rtol=1e-4)


def test_layers_are_found_by_name_or_the_nearest_is_told() -> None:
    net = nn.ModuleDict({"tail": nn.ModuleDict({"fc6": nn.Linear(8, 6), "fc7": nn.Linear(6, 6)})})
    replace_linear(net, {"fc6": 2})
    layer = net.get_submodule("tail.fc6")
    assert isinstance(layer, LowRankLinear) and layer.rank == 2
    with pytest.raises(XferError, match="no linear layer is called 'fc8'"):
        replace_linear(net, {"fc8": 2})
    with pytest.raises(XferError, match="1 to 6 singular values"):
        LowRankLinear.of(nn.Linear(6, 6), 7)
    with pytest.raises(XferError, match="no linear layer is called 'fc6'") as none:
        replace_linear(nn.Sequential(nn.Flatten(), nn.Linear(8, 6)), {"fc6": 2})
    assert none.value.hint == "this model has no fc6 or fc7 to make thinner"


def test_a_compressed_run_is_a_run_like_any_other(run: Path, tmp_path: Path) -> None:
    report = compress(run, {"fc6": 4, "fc7": 3}, tmp_path / "thin")
    assert report["after"]["parameters"] < report["before"]["parameters"]
    assert report["after"]["seconds_per_image"] > 0 and report["split"] == "val"
    kept = json.loads((run / "result.json").read_text())["metrics"]
    assert report["before"]["metrics"]["coco_ap50"] == pytest.approx(kept["coco_ap50"], abs=1e-6)
    result = json.loads((tmp_path / "thin" / "result.json").read_text())
    assert result["compressed"]["svd"] == {"fc6": 4, "fc7": 3}
    scored = xfer.evaluate(tmp_path / "thin")["metrics"]
    assert scored["coco_ap50"] == pytest.approx(result["metrics"]["coco_ap50"], abs=1e-6)
    image = np.random.default_rng(0).integers(0, 255, (70, 110, 3), np.uint8)
    assert len(xfer.load(tmp_path / "thin").predict(image)) == 1
    with pytest.raises(XferError, match="already compressed"):
        compress(tmp_path / "thin", {"fc6": 2}, tmp_path / "thinner")


def test_nothing_changes_for_a_layer_of_that_rank(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(run, whole)
    tensors = load_file(whole / "best.safetensors")
    (name,) = [name for name in tensors if name.endswith("fc7.weight")]
    u, s, v = torch.linalg.svd(tensors[name], full_matrices=False)
    tensors[name] = (u[:, :11] * s[:11] @ v[:11]).contiguous()  # 24 x 24 weights of rank 11
    save_file(tensors, whole / "best.safetensors", {"format": "xfer"})
    # of several processes, the one that calls it scores all pictures and waits for nobody
    for key, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(key, value)
    report = compress(whole, {"fc7": 11}, tmp_path / "same")
    scored = (tmp_path / "same" / "predictions" / "val.csv").read_text()
    kept = (run / "predictions" / "val.csv").read_text()
    assert {row.split(",")[0] for row in scored.splitlines()} == {
        row.split(",")[0] for row in kept.splitlines()
    }
    assert report["after"]["metrics"]["coco_ap"] == pytest.approx(
        report["before"]["metrics"]["coco_ap"], abs=1e-4
    )


@pytest.mark.parametrize("shape", [(24, 24), (4704, 256), (9216, 4096), (7, 3)])
def test_a_rank_that_makes_its_layer_no_smaller_is_refused(shape: tuple[int, int]) -> None:
    inside, out = shape
    with torch.device("meta"):
        net = nn.ModuleDict({"fc6": nn.Linear(inside, out)})
    most = most_useful_rank(nn.Linear(inside, out, device="meta"))
    assert most * (inside + out) < inside * out <= (most + 1) * (inside + out)
    with pytest.raises(XferError, match="would not make fc6 smaller") as caught:
        replace_linear(net, {"fc6": most + 1}, approximate=True)
    assert caught.value.hint == f"at most fc6={most}"
    replace_linear(net, {"fc6": most + 1})  # as older versions made them
    with pytest.raises(XferError, match="at least 1"):
        replace_linear(nn.ModuleDict({"fc6": nn.Linear(8, 8)}), {"fc6": 0}, approximate=True)


def test_ranks_are_chosen_by_the_energy_that_they_keep() -> None:
    torch.manual_seed(0)
    net = nn.ModuleDict({
        "fc6": nn.Linear(40, 30), "fc7": nn.Linear(30, 30), "cls_score": nn.Linear(5, 2),
        "a": nn.Sequential(nn.Linear(9, 9)), "b": nn.Sequential(nn.Linear(9, 9)),
    })  # fmt: skip
    fc6 = net.get_submodule("fc6")
    assert isinstance(fc6, nn.Linear)
    u, _, v = torch.linalg.svd(fc6.weight, full_matrices=False)
    values = torch.tensor([3.0, 2.0, 1.0, *[0.1] * 27])  # energies 9, 4, 1, 0.27 of 14.27
    fc6.weight.data = u * values @ v
    for share, rank in ((0.6, 1), (0.9, 2), (0.92, 3)):
        chosen = ranks_keeping(net, share)
        assert chosen.pop("fc6") == rank
        assert chosen.keys() <= {"fc7"}  # the rest are too small, or share a name
    with pytest.raises(XferError, match="fc6 needs rank 30, and is smaller only up to 17"):
        ranks_keeping(net, 0.9999)
    with pytest.raises(XferError, match="no linear layer gets smaller"):
        ranks_keeping(nn.Sequential(nn.Conv2d(3, 8, 3)), 0.5)


def test_ranks_that_a_run_is_compressed_with_are_chosen(run: Path, tmp_path: Path) -> None:
    report = compress(run, "auto:0.4", tmp_path / "thin")
    about = json.loads((tmp_path / "thin" / "model.json").read_text())
    assert report["svd"] == about["svd"] and report["svd"]["fc6"] <= 16
    assert report["after"]["parameters"] < report["before"]["parameters"]
    xfer.load(tmp_path / "thin")


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 is there")
def test_a_run_of_fp16_is_compressed_where_there_is_none(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "half")
    file = tmp_path / "half" / "recipe.toml"
    file.write_text(file.read_text().replace('precision = "fp32"', 'precision = "fp16"'))
    report = compress(tmp_path / "half", {"fc6": 4}, tmp_path / "thin")
    assert report["after"]["parameters"] < report["before"]["parameters"]


def test_scores_on_other_data_say_so(run: Path, tmp_path: Path) -> None:
    digits = [{"id": n + 1, "name": name} for n, name in enumerate("0123456789")]
    boxes = [{**a, "category_id": 1} for a in coco_document()["annotations"]]
    data = write_coco(tmp_path / "other", categories=digits, annotations=boxes)
    compress(run, {"fc6": 4}, tmp_path / "thin", data=str(data), split="train")
    result = json.loads((tmp_path / "thin" / "result.json").read_text())
    assert result["data"] == str(data) and result["compressed"]["images"] == 4
    assert json.loads((run / "result.json").read_text())["data"] == "digits"


def test_what_is_in_the_way_stays(run: Path, tmp_path: Path) -> None:
    compress(run, {"fc6": 4}, tmp_path / "thin")
    with pytest.raises(XferError, match="finished run"):
        compress(run, {"fc6": 4}, tmp_path / "thin")
    with pytest.raises(XferError, match="the run itself"):
        compress(run, {"fc6": 4}, run, overwrite=True)
    compress(run, {"fc6": 2}, tmp_path / "thin", overwrite=True)
    assert json.loads((tmp_path / "thin" / "model.json").read_text())["svd"] == {"fc6": 2}


def test_ranks_are_read_from_the_command_line() -> None:
    assert read_ranks("fc6=1024,fc7=256") == {"fc6": 1024, "fc7": 256}
    assert (read_ranks("auto"), read_ranks("auto:0.8")) == (0.9, 0.8)
    for wrong in ("fc6", "fc6=", "=3", "fc6=many", "fc6=-1", ""):
        with pytest.raises(XferError, match="LAYER=NUMBER"):
            read_ranks(wrong)
    for wrong in ("auto:", "auto:0", "auto:1", "auto:90%", "auto:nan", "auto:-1"):
        with pytest.raises(XferError, match="above 0 and below 1"):
            read_ranks(wrong)


def test_the_command_tells_both(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compress", str(run), "--svd", "fc6=4", "--out", str(tmp_path / "thin"), "--json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"before", "after", "svd", "images"} <= report.keys()
    assert main(["compress", str(run), "--svd", "fc9=4", "--out", str(tmp_path / "x")]) == 2
    assert "fc9" in capsys.readouterr().err
    assert main(["compress", str(run), "--svd", "fc7=12", "--out", str(tmp_path / "x")]) == 2
    assert "fc7=11" in capsys.readouterr().err
    assert main([*words[:-1], "--workers", "-5"]) == 2
    assert "--workers" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
