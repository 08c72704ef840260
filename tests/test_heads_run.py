"""Runs of the other heads, resumed to equal bits as those of detect and segment are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accumulated import INSTANCE, PANOPTIC
from test_detect_run import TINY as DETECT
from test_detect_run import Stopped, losses

from xfer.recipe.tables import Recipe, ScheduleTable
from xfer.runs import checkpoint
from xfer.train.job import Job
from xfer.train.loop import fit

HEADS: dict[str, Recipe] = {
    "fcos": replace(
        DETECT, task_options={"detector": "fcos", "width": 16, "towers": 1, "max_stride": 16}
    ),
    "instance": replace(
        INSTANCE,
        task_options={**INSTANCE.task_options, "levels": ("conv1",), "mask_width": 8,
                      "mask_convs": 1, "most_boxes": 5},
    ),
    "panoptic": replace(PANOPTIC, task_options={"width": 16}),
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_a_run_that_died_resumes_to_equal_bits(
    head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = HEADS[head]
    recipe = replace(
        base, schedule=ScheduleTable(epochs=2), data=replace(base.data, limit=8),
        run=replace(base.run, save_minutes=1e-9),
    )  # fmt: skip
    whole, again = tmp_path / "whole", tmp_path / "again"
    fit(recipe, whole, verbosity=-1)
    real = Job.begin_step

    def begin(job: Job) -> float:
        if job.step == 3:
            raise Stopped
        return real(job)

    monkeypatch.setattr(Job, "begin_step", begin)
    with pytest.raises(Stopped):
        fit(recipe, again, verbosity=-1)
    monkeypatch.setattr(Job, "begin_step", real)
    fit(resume=again, verbosity=-1)
    one, two = (checkpoint.load_weights(run / "best.safetensors") for run in (whole, again))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert losses(whole) == losses(again) and len(losses(whole)) == 4
    assert json.loads((again / "result.json").read_text())["steps"] == 4
