"""Runs of the task detect: resumed to equal bits, by two processes, loaded again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from two_ranks import two_ranks

import xfer
from xfer.cli.app import main
from xfer.errors import DataError, XferError
from xfer.recipe.tables import DataTable, EvalTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.runs import checkpoint
from xfer.runs.folder import Run
from xfer.train.job import Job
from xfer.train.loop import fit

SMALL = {
    "head_width": 16, "rpn_width": 8, "pool_size": 3, "anchor_count": 3, "regions": 16,
    "rpn_batch": 32, "rpn_train": (100, 40), "rpn_test": (60, 20),
}  # fmt: skip
TINY = Recipe(
    name="test", task="detect", backbone="tiny_nets:tiny", weights="none", task_options=SMALL,
    data=DataTable(source="digits", batch=4, size=64, limit=16, workers=1, flip=False,
                   crop_area=(0.6, 1.0)),
    optim=OptimTable(name="sgd", lr=1e-2, head_scale=1.0, ema=0.5, clip=5.0, accumulate=2),
    schedule=ScheduleTable(epochs=2), eval=EvalTable(tta="flip"),
    run=RunTable(precision="fp32", plots=False, report=False),
)  # fmt: skip


class Stopped(Exception):
    """Stands for a process that is gone."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("detect") / "run"
    fit(TINY, out, verbosity=-1)
    return out


def losses(run: Path) -> dict[int, float]:
    return {e["step"]: e["loss"] for e in Run(run).events() if e["event"] == "train"}


def test_the_folder_holds_detections_figures(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    assert result["primary"] == "coco_ap" and {"coco_ap50", "voc_ap50_area"} <= set(
        result["metrics"]
    )
    assert "mirror image" in result["protocol"]["views"]
    model = json.loads((whole / "model.json").read_text())
    assert len(model["task_options"]["anchors"]) == 6


@pytest.mark.parametrize("step", [1, 5])
def test_a_run_that_died_resumes_to_equal_bits(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real = Job.begin_step

    def begin(job: Job) -> float:
        if job.step == step:
            raise Stopped
        return real(job)

    monkeypatch.setattr(Job, "begin_step", begin)
    recipe = replace(TINY, run=replace(TINY.run, save_minutes=1e-9))
    with pytest.raises(Stopped):
        fit(recipe, tmp_path / "run", verbosity=-1)
    monkeypatch.setattr(Job, "begin_step", real)
    fit(resume=tmp_path / "run", verbosity=-1)
    one, two = (
        checkpoint.load_weights(run / "best.safetensors") for run in (whole, tmp_path / "run")
    )
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert losses(whole) == losses(tmp_path / "run")


def test_a_loaded_run_predicts_and_is_scored_alike(whole: Path) -> None:
    again = xfer.evaluate(whole)
    kept = json.loads((whole / "result.json").read_text())["metrics"]
    assert again["metrics"]["coco_ap50"] == pytest.approx(kept["coco_ap50"], abs=1e-6)
    image = np.random.default_rng(0).integers(0, 255, (70, 110, 3), np.uint8)
    (found,) = xfer.load(whole).predict(image)
    assert found.size == (70, 110)


def test_views_of_another_task_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(XferError, match="unknown tta '10crop'"):
        fit(replace(TINY, eval=EvalTable(tta="10crop")), tmp_path / "run", verbosity=-1)


def test_proposals_of_a_grid_train_and_are_made_for_new_pictures(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"proposals": "grid", "most_proposals": 80}
    recipe = replace(TINY, task_options={**SMALL, **given}, schedule=ScheduleTable(epochs=1))
    fit(recipe, tmp_path / "run", verbosity=-1)
    image = np.random.default_rng(0).integers(0, 255, (70, 110, 3), np.uint8)
    assert len(xfer.load(tmp_path / "run").predict(image)) == 1
    asked = ["data", "proposals", "digits", "--method", f"run:{tmp_path / 'run'}"]
    assert main(asked) == 2
    assert "makes none of its own" in capfd.readouterr().err


def test_the_proposals_of_a_run_are_measured_and_train_another_detector(
    whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "boxes.npz"
    asked = ["data", "proposals", "digits", "--method", f"run:{whole}", "--most", "50"]
    assert main([*asked, "-o", str(file), "--json"]) == 0
    shown = capfd.readouterr()
    said = json.loads(shown.out)
    assert "were trained on" in shown.err
    assert said["max_boxes"] == 50 and said["recall_50"] > 0.1
    given: dict[str, Any] = {"proposals": f"file:{file}"}
    recipe = replace(TINY, task_options={**SMALL, **given}, schedule=ScheduleTable(epochs=1))
    fit(recipe, tmp_path / "run", verbosity=-1)


def test_a_file_of_proposals_that_is_not_there_is_told(tmp_path: Path) -> None:
    recipe = replace(TINY, task_options={**SMALL, "proposals": f"file:{tmp_path}/none.npz"})
    with pytest.raises(DataError, match=r"none\.npz"):
        fit(recipe, tmp_path / "run", verbosity=-1)


def test_a_score_that_val_can_not_give_is_told(tmp_path: Path) -> None:
    """Digits are 8 to 64 px high: none is large by COCO's measure."""
    given = {**SMALL, "primary": "coco_ap_large"}
    recipe = replace(TINY, task_options=given, schedule=ScheduleTable(epochs=1))
    with pytest.raises(DataError, match="nothing that coco_ap_large can be computed from"):
        fit(recipe, tmp_path / "run", verbosity=-1)


SCRIPT = """
import sys
from pathlib import Path
from test_detect_run import TINY
from xfer.train.loop import fit
fit(TINY, Path(sys.argv[1]), verbosity=-1, trust="tiny_nets")
"""


@pytest.mark.slow
def test_two_processes_count_each_picture_once(whole: Path, tmp_path: Path) -> None:
    for ended in two_ranks(tmp_path, SCRIPT, str(tmp_path / "run")):
        assert ended.code == 0, ended.said[-2000:]
    assert json.loads((tmp_path / "run" / "env.json").read_text())["world_size"] == 2
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    single = json.loads((whole / "result.json").read_text())
    counts = [
        sum(c["n"] for c in r["metrics"]["per_class"].values()) for r in (result, single)
    ]  # fmt: skip
    assert counts[0] == counts[1] > 0
    # other draws of regions, but the same pictures: the first losses are alike
    assert losses(tmp_path / "run")[1] == pytest.approx(losses(whole)[1], rel=0.1)
