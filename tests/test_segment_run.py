"""Runs of the task segment: resumed to equal bits, by two processes, staged, loaded again."""

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
from xfer.errors import XferError
from xfer.inference import batches
from xfer.kinds.mask_rows import KeptMasks
from xfer.recipe.tables import DataTable, EvalTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.runs import checkpoint
from xfer.runs.folder import Run
from xfer.train.job import Job
from xfer.train.loop import fit

TINY = Recipe(
    name="test", task="segment", backbone="tiny_nets:tiny", weights="none",
    task_options={"width": 16, "class_balance": 0.5},
    data=DataTable(source="digits", batch=4, size=64, limit=16, workers=1, flip=False),
    optim=OptimTable(lr=1e-2, head_scale=1.0, ema=0.5, accumulate=2),
    schedule=ScheduleTable(epochs=2), eval=EvalTable(tta="flip"),
    run=RunTable(precision="fp32", plots=False, report=False),
)  # fmt: skip


class Stopped(Exception):
    """Stands for a process that is gone."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("segment") / "run"
    fit(TINY, out, verbosity=-1)
    return out


def losses(run: Path) -> dict[int, float]:
    return {e["step"]: e["loss"] for e in Run(run).events() if e["event"] == "train"}


def test_the_folder_holds_segmentations_figures(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    assert result["primary"] == "miou"
    wanted = {"miou", "pixel_acc", "mean_class_acc", "fw_iou", "boundary_f", "per_class"}
    assert wanted <= set(result["metrics"])
    assert "mirror image" in result["protocol"]["views"]
    assert "short side 64 px" in result["protocol"]["views"]
    model = json.loads((whole / "model.json").read_text())
    assert model["task_options"]["levels"] == ["conv2"] and model["size"] == 64


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
    ours, theirs = (
        checkpoint.load_weights(folder / "best.safetensors") for folder in (whole, tmp_path / "run")
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert losses(tmp_path / "run") == losses(whole)


def test_a_loaded_run_predicts_whole_pictures_of_any_size(whole: Path, tmp_path: Path) -> None:
    model = xfer.load(whole)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, np.uint8) for shape in ((50, 90, 3), (120, 64, 3))]
    found = model.predict(images)
    assert [p.mask.shape for p in found] == [(50, 90), (120, 64)]
    row = found.rows()[0]
    assert row["width"] == 90 and sum(row["shares"].values()) == pytest.approx(1, abs=1e-4)
    assert set(row["labels"]) <= set(model.classes)


def test_large_pictures_are_predicted_a_few_at_a_time(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = xfer.load(whole)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(5)]
    together = model.predict(images)
    sizes: list[int] = []
    real = model.task.collate
    monkeypatch.setattr(batches, "HELD", 64 * 96 * 3)
    monkeypatch.setattr(
        model.task, "collate", lambda items: (sizes.append(len(items)), real(items))[1]
    )
    apart = model.predict(images)
    assert sizes == [2, 2, 1]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(together, apart, strict=True))
    assert isinstance(apart.items, KeptMasks) and len(apart.items[1:3]) == 2
    assert apart[-1].mask.flags.writeable and apart[-1].mask.shape == (64, 96)
    with pytest.raises(IndexError):
        apart[5]


def test_fcn_16s_starts_from_the_run_of_fcn_32s(tmp_path: Path) -> None:
    coarse = replace(TINY, task_options={"head": "fcn32s", "tail": "fresh", "width": 16},
                     schedule=ScheduleTable(steps=4))  # fmt: skip
    fit(coarse, tmp_path / "coarse", verbosity=-1)
    options = {"head": "fcn16s", "tail": "fresh", "width": 16, "staged": True}
    fine = replace(
        coarse, task_options=options, weights=f"run:{tmp_path / 'coarse'}",
        optim=OptimTable(lr=1e-30, ema=0.0), schedule=ScheduleTable(steps=1),
    )  # fmt: skip
    fit(fine, tmp_path / "fine", verbosity=-1)
    before, after = (
        checkpoint.load_weights(tmp_path / run / "best.safetensors") for run in ("coarse", "fine")
    )
    assert torch.allclose(before["head.score.0.weight"], after["head.score.0.weight"], atol=1e-6)
    assert torch.allclose(before["head.hidden.0.weight"], after["head.hidden.0.weight"], atol=1e-6)
    assert not after["head.score.1.weight"].abs().max() > 1e-6  # the skip starts at nothing
    model = json.loads((tmp_path / "fine" / "model.json").read_text())
    assert not model["task_options"]["staged"]
    xfer.load(tmp_path / "fine").predict(np.zeros((40, 40, 3), np.uint8))


def test_staged_training_needs_a_run(tmp_path: Path) -> None:
    recipe = replace(TINY, task_options={"head": "fcn16s", "staged": True})
    with pytest.raises(XferError, match="run to start from"):
        fit(recipe, tmp_path / "run", verbosity=-1)


def test_other_views_than_the_tasks_are_refused(tmp_path: Path) -> None:
    recipe = replace(TINY, eval=EvalTable(tta="10crop"))
    with pytest.raises(XferError, match="unknown tta '10crop'"):
        fit(recipe, tmp_path / "run", verbosity=-1)


SCRIPT = """
import sys
from pathlib import Path
from xfer.api import finetune
settings = {"run.plots": False, "run.report": False, "data.augment": "light", "task.dropout": 0.0,
            "data.size": 64,
            "backbone.batch_norm": False, "optim.name": "sgd", "schedule.name": "constant",
            "task.head": "fcn32s", "task.tail": "none", "data.flip": False}
finetune("digits", "segment", out=Path(sys.argv[1]), verbosity=-1, backbone="tiny_nets:tiny",
         weights="none", epochs=2, limit=15, batch=6, lr=0.05, precision="fp32", workers=1,
         recipe="segment/default", **settings)
"""


@pytest.mark.slow
def test_two_processes_score_what_one_does_and_count_each_picture_once(tmp_path: Path) -> None:
    results: list[Any] = []
    for processes in (1, 2):
        run = tmp_path / f"run{processes}"
        for ended in two_ranks(tmp_path, SCRIPT, str(run), own=({},) * processes):
            assert ended.code == 0, ended.said[-2000:]
        results.append(json.loads((run / "result.json").read_text())["metrics"])
        rows = (run / "predictions" / "val.csv").read_text().splitlines()[1:]
        assert len(rows) == len({row.split(",")[0] for row in rows}) == 15
    one, two = results
    counts = [{k: v["n"] for k, v in m["per_class"].items()} for m in results]
    assert counts[0] == counts[1]
    # losses are means over a process's own pixels: almost, not exactly, the mean over all
    assert two["pixel_acc"] == pytest.approx(one["pixel_acc"], abs=0.02)
