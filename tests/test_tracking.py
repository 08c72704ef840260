"""run.track: what a run logs for TensorBoard and spreadsheets, also after it was interrupted."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from xfer.cli import main
from xfer.recipe.tables import DataTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.runs.folder import Run
from xfer.tracking import csv_file, tracked
from xfer.tracking.tracker import scalars_of
from xfer.train.job import Job
from xfer.train.loop import fit

RECIPE = Recipe(
    task="classify", backbone="tiny_nets:tiny", weights="none",
    data=DataTable(source="digits", batch=8, size=32, limit=24, workers=1),
    optim=OptimTable(lr=1e-2), schedule=ScheduleTable(epochs=3),
    run=RunTable(precision="fp32", report=False, track="csv,tensorboard"),
)  # fmt: skip


class Killed(BaseException):
    """Stands for a process that is gone."""


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value) of each entry, as TensorBoard shows them."""
    events = board(run)
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]}  # fmt: skip


def board(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return events


def logged(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The same out of log.jsonl, to six digits, which is float32's."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for event in Run(run).events():
        for name, value in scalars_of(event).items():
            found[name].append((event["step"], value))
    return found


def check_same(got: dict[str, list[tuple[int, float]]], run: Path) -> None:
    wanted = logged(run)
    assert set(got) == set(wanted)
    for name, values in wanted.items():
        assert [step for step, _ in got[name]] == [step for step, _ in values], name
        assert [v for _, v in got[name]] == pytest.approx([v for _, v in values], rel=1e-6)


def columns(run: Path) -> dict[str, list[tuple[int, float]]]:
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        name: [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        for name in rows[0] if name != "step"
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("track") / "run"
    fit(RECIPE, out, verbosity=-1)
    return out


def test_tensorboard_and_csv_hold_the_log(whole: Path) -> None:
    got = scalars(whole)
    final = {name: got.pop(name) for name in list(got) if name.startswith("final/")}
    check_same(got, whole)
    check_same(columns(whole), whole)
    assert {"train/loss", "train/lr", "val/top1", "system/data_wait", "system/memory_mb"} <= set(
        got
    )
    result = json.loads((whole / "result.json").read_text())
    assert final["final/val/top1"] == [(0, pytest.approx(result["metrics"]["top1"]))]


def test_tensorboard_has_pictures_the_recipe_and_hyperparameters(whole: Path) -> None:
    events = board(whole)
    assert set(events.Tags()["images"]) == {"worst", "predictions", "confusion"}
    (worst,) = events.Images("worst")
    assert worst.width > 100 and worst.encoded_image_string.startswith(b"\x89PNG")
    assert worst.step == json.loads((whole / "result.json").read_text())["best_step"]
    (text,) = events.Tensors("recipe/text_summary")
    assert b"tiny_nets:tiny" in text.tensor_proto.string_val[0]
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"optim.lr" in content and b"tiny_nets:tiny" in content


@pytest.mark.parametrize("step", [1, 5])
def test_a_resumed_run_logs_no_step_twice(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    run = tmp_path / "run"
    real = Job.begin_step

    def begin(job: Job) -> float:
        if job.step == step:
            raise Killed
        return real(job)

    monkeypatch.setattr(Job, "begin_step", begin)
    # saves after each epoch of three steps, so that steps 4 and 5 are done again
    with pytest.raises(Killed):
        fit(replace(RECIPE, run=replace(RECIPE.run, plots=False)), run, verbosity=-1)
    before = scalars(run)
    assert [s for s, _ in before["train/loss"]] == list(range(1, step + 1))
    monkeypatch.setattr(Job, "begin_step", real)
    fit(resume=run, verbosity=-1)
    assert len(list((run / "tensorboard").iterdir())) == 2
    got = {k: v for k, v in scalars(run).items() if not k.startswith("final/")}
    check_same(got, run)
    check_same(columns(run), run)
    assert got["train/loss"] == scalars(whole)["train/loss"]
    assert got["val/top1"] == scalars(whole)["val/top1"]


def test_an_evaluation_repeated_after_a_crash_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state saved at the evaluation's own step, before it: only the log tells what stands."""
    events: list[dict[str, Any]] = [
        {"event": "train", "step": 1, "loss": 3.0},
        {"event": "train", "step": 2, "loss": 2.0},
        {"event": "eval", "step": 2, "metrics": {"top1": 0.5}},
        {"event": "train", "step": 3, "loss": 1.0},
    ]
    run = Run(tmp_path)
    for kept, stop in ((0, 4), (2, 3)):
        run.rewind_log(kept, evaluated=0)
        with tracked.tracked(RECIPE, run, kept, True, print):
            for event in events[kept:stop]:
                run.log(**event)
    check_same(scalars(tmp_path), tmp_path)
    check_same(columns(tmp_path), tmp_path)
    assert scalars(tmp_path)["val/top1"] == [(2, 0.5)]
    assert [s for s, _ in scalars(tmp_path)["train/loss"]] == [1, 2]
    with tracked.tracked(RECIPE, run, 2, False, print):  # another process: nothing is written
        run.log("train", step=3, loss=0.0)
    assert [s for s, _ in scalars(tmp_path)["train/loss"]] == [1, 2]
    assert run.followers == []


def test_a_missing_package_is_a_line_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *more: None if name == "tensorboard" else find(name, *more),
    )  # fmt: skip
    out = ["--out", str(tmp_path / "run")]
    assert main(["finetune", "--data", "digits", *out, "run.track=csv,tensorboard"]) == 2
    told = capsys.readouterr().err
    assert "run.track=tensorboard needs tensorboard" in told and "xfer[track]" in told
    assert not (tmp_path / "run").exists()
    assert main(["finetune", "--data", "digits", *out, "run.track=csv,tensorbord"]) == 2
    assert "run.track must be one of" in capsys.readouterr().err


def test_a_tracker_that_fails_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*words: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(csv_file.CsvFile, "add", fails)
    told: list[str] = []
    run = Run(tmp_path)
    with tracked.tracked(RECIPE, run, 0, True, told.append):
        run.log("train", step=1, loss=1.0)
        run.log("train", step=2, loss=1.0)
    assert len(told) == 1 and "csv failed" in told[0] and "no room" in told[0]
    assert len(scalars(tmp_path)["train/loss"]) == 2


def test_an_overwritten_run_keeps_nothing_of_the_old_log(whole: Path, tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / "tensorboard").mkdir()
    for name in ("metrics.csv", "tensorboard/events.out.tfevents.1.host"):
        (tmp_path / name).write_text("old")
    run.clear()
    assert not list(tmp_path.rglob("*.*"))
