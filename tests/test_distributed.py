"""Two processes do what one does: the same losses, each picture counted once, one writer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from two_ranks import Ended, two_ranks

from xfer.inference.evaluate import evaluate
from xfer.runs.folder import Run

# 65 pictures a batch do not divide by two: the shares are uneven
SCRIPT = """
import sys
from pathlib import Path
from xfer.api import finetune

settings = {"run.plots": False, "run.report": False, "data.augment": "light", "task.dropout": 0.0,
            "task.head": "flat",
            "backbone.batch_norm": False, "optim.name": "sgd", "schedule.name": "constant"}
settings.update(eval(sys.argv[2]))
finetune("digits", "classify", out=Path(sys.argv[1]), verbosity=-1, backbone="tiny_nets:tiny",
         weights="none", epochs=3, limit=195, batch=65, lr=0.02, precision="fp32", workers=1,
         **settings)
"""


def launch(folder: Path, processes: int, **settings: Any) -> list[Ended]:
    words = str(folder / f"run{processes}"), repr(settings)
    return two_ranks(folder, SCRIPT, *words, own=({},) * processes)


def losses(run: Path) -> list[float]:
    return [e["loss"] for e in Run(run).events() if e["event"] == "train"]


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_and_count_each_picture_once(tmp_path: Path) -> None:
    for processes in (1, 2):
        for ended in launch(tmp_path, processes):
            assert ended.code == 0, ended.said[-2000:]
    one, two = losses(tmp_path / "run1"), losses(tmp_path / "run2")
    assert len(one) == len(two) == 9
    assert two == pytest.approx(one, rel=1e-3, abs=1e-4)
    env = json.loads((tmp_path / "run2" / "env.json").read_text())
    assert env["world_size"] == 2
    rows = (tmp_path / "run2" / "predictions" / "val.csv").read_text().splitlines()[1:]
    assert len(rows) == len({row.split(",")[0] for row in rows}) == 195


@pytest.mark.slow
def test_an_error_in_two_processes_ends_both(tmp_path: Path) -> None:
    done = launch(tmp_path, 2, **{"optim.freeze": "conv9"})
    assert all(ended.code for ended in done)
    assert "conv9" in "".join(ended.said for ended in done)


@pytest.mark.slow
def test_what_is_scored_by_two_processes_is_what_is_saved(tmp_path: Path) -> None:
    # each process's batch norm has last seen pictures of its own
    for ended in launch(tmp_path, 2, **{"backbone.batch_norm": True}):
        assert ended.code == 0, ended.said[-2000:]
    told = json.loads((tmp_path / "run2" / "result.json").read_text())["metrics"]
    again = evaluate(tmp_path / "run2")["metrics"]
    assert again["loss"] == pytest.approx(told["loss"], rel=1e-5)
