"""The loop: learning, resuming to equal bits, stopping, and what is written."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import xfer
from xfer.device import Place
from xfer.errors import DataError, DivergedError, XferError, command_line
from xfer.inference.evaluate import evaluate
from xfer.recipe.data import open_recipe_data
from xfer.recipe.paths import absolute
from xfer.recipe.tables import DataTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.runs import checkpoint
from xfer.runs.folder import Run
from xfer.train import loop
from xfer.train.job import Job
from xfer.train.loop import Summary, fit
from xfer.train.signals import Interrupted, StopFlag
from xfer.train.throughput import Clock

TINY = Recipe(
    name="test",
    backbone="tiny_nets:tiny",
    weights="none",
    task_options={"head": "flat"},
    data=DataTable(source="digits", batch=64, augment="light", flip=False, limit=320, workers=1),
    optim=OptimTable(lr=1e-2, head_scale=1.0, ema=0.5),
    schedule=ScheduleTable(epochs=4),
    run=RunTable(precision="fp32", plots=False, report=False),
)


CPU = Place(torch.device("cpu"), "fp32")


def train(out: Path | None, recipe: Recipe = TINY, **options: Any) -> Summary:
    return fit(recipe, out, verbosity=-1, **options)


def changed(recipe: Recipe = TINY, **tables: dict[str, Any]) -> Recipe:
    return replace(recipe, **{k: replace(getattr(recipe, k), **v) for k, v in tables.items()})


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(run / "best.safetensors")


def losses(run: Path) -> dict[int, float]:
    return {e["step"]: e["loss"] for e in Run(run).events() if e["event"] == "train"}


def equal(a: Path, b: Path) -> bool:
    one, two = weights(a), weights(b)
    same = one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    return same and losses(a) == losses(b)


class Stopped(Exception):
    """Stands for a process that is gone."""


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, how: Any) -> None:
    """Runs `how` as training begins that step."""
    real = Job.begin_step

    def begin(job: Job) -> float:
        if job.step == step:
            how()
        return real(job)

    monkeypatch.setattr(Job, "begin_step", begin)


def die() -> None:
    raise Stopped


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train(out)
    return out


def test_the_loss_falls_and_the_score_is_above_chance(whole: Path) -> None:
    seen = list(losses(whole).values())
    assert sum(seen[-5:]) / 5 < 0.92 * seen[0]
    assert json.loads((whole / "result.json").read_text())["metrics"]["top1"] > 0.3


def test_the_folder_holds_what_the_surface_promises(whole: Path) -> None:
    names = {p.name for p in whole.iterdir()}
    assert names >= {
        "recipe.toml", "env.json", "log.jsonl", "result.json", "best.safetensors", "model.json",
        "classes.txt", "split.json", "last", "predictions",
    }  # fmt: skip
    result = json.loads((whole / "result.json").read_text())
    assert result["schema"] == 1 and result["task"] == "classify" and result["seed"] == 0
    assert result["primary"] == "top1" and "views" in result["protocol"]
    assert result["steps"] == 20 and 0 < result["best_step"] <= 20
    for key in ("seconds", "images_per_second", "data_wait", "peak_memory_mb"):
        assert math.isfinite(result[key])
    env = json.loads((whole / "env.json").read_text())
    assert env["world_size"] == 1 and env["data_fingerprint"] and env["versions"]["torch"]
    events = Run(whole).events()
    assert [e["event"] for e in events].count("eval") == 4
    first = next(e for e in events if e["event"] == "train")
    assert {"step", "losses", "loss", "lr", "images_per_second", "data_wait"} <= first.keys()
    rows = (whole / "predictions" / "val.csv").read_text().splitlines()
    assert len(rows) == 1 + len(json.loads((whole / "split.json").read_text())["val"])


def test_the_stored_recipe_runs_again_to_the_same_weights(whole: Path, tmp_path: Path) -> None:
    fit(Run.open(whole).recipe(), tmp_path / "again", verbosity=-1)
    assert equal(whole, tmp_path / "again")


@pytest.mark.parametrize("step", [1, 7, 13, 19])
def test_a_run_that_died_resumes_to_equal_bits(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(step, patch, die)
        train(tmp_path / "b")
    fit(resume=tmp_path / "b", verbosity=-1)
    assert equal(whole, tmp_path / "b")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_at_once_and_resuming_gives_equal_bits(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="resume="):
        stop_at(8, patch, lambda: os.kill(os.getpid(), number))
        train(tmp_path / "b")
    assert checkpoint.load_state(tmp_path / "b" / "last" / "state.pt")["step"] == 9
    fit(resume=tmp_path / "b", verbosity=-1)
    assert equal(whole, tmp_path / "b")
    resumed = [e["step"] for e in Run(tmp_path / "b").events() if e["event"] == "resume"]
    assert resumed == [9]


def test_everything_with_a_state_resumes_to_equal_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thawing, accumulation, clipping, mixing, plateau, dropout: all states at once."""
    recipe = changed(
        TINY,
        data={"augment": "strong"},
        optim={"freeze_epochs": 1, "accumulate": 2, "clip": 1.0, "name": "sgd", "lr": 0.05},
        schedule={"name": "plateau", "patience": 1},
        eval={"every": 0.5},
    )
    options = {"head": "flat", "mixup": 0.2, "cutmix": 0.5, "dropout": 0.3}
    recipe = replace(recipe, task_options=options)
    train(tmp_path / "a", recipe)
    for name, step in (("b", 4), ("c", 11)):
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            stop_at(step, patch, die)
            train(tmp_path / name, recipe)
        fit(resume=tmp_path / name, verbosity=-1)
        assert equal(tmp_path / "a", tmp_path / name)


def test_a_head_on_an_earlier_map_trains_with_what_is_below_it_frozen_then_thawed(
    tmp_path: Path,
) -> None:
    early = replace(TINY, task_options={"head": "avg", "layer": "conv1"})
    recipe = changed(early, data={"limit": 128}, schedule={"epochs": 2})
    job = Job(changed(recipe, optim={"freeze": "all"}), CPU, open_recipe_data(recipe))
    assert [stage.name for stage in job.task.stages()] == ["conv1", "head"]
    trunk: Any = job.task.backbone.trunk
    assert not trunk[1].training  # a frozen batch norm keeps its statistics
    done = train(tmp_path / "run", changed(recipe, optim={"freeze_epochs": 1}))
    assert done.result["steps"] == 4


@pytest.mark.parametrize(
    ("tables", "world", "message"),
    [
        ({"data": {"batch": 1}}, 2, "a batch of 1 can't be shared by 2 processes"),
        ({"data": {"balance": True, "window": 64}}, 1, "data.balance draws from all"),
        ({"data": {"val": "none"}, "schedule": {"name": "plateau"}}, 1, "schedule.name=plateau"),
        ({"data": {"val": "none"}, "schedule": {"stop_after": 2}}, 1, "schedule.stop_after needs"),
    ],
)
def test_settings_that_can_not_work_are_refused(
    tables: dict[str, dict[str, Any]], world: int, message: str
) -> None:
    recipe = changed(TINY, **tables)
    with pytest.raises(XferError, match=message):
        Job(recipe, Place(torch.device("cpu"), "fp32", 0, world), open_recipe_data(recipe))


def test_every_second_of_training_counts_and_none_of_evaluating(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    job: Any = SimpleNamespace(
        step=0, seconds=0.0, waited=0.0, global_batch=10, epoch_steps=8,
        train=SimpleNamespace(waited=0.0), place=CPU,
    )  # fmt: skip
    clock = Clock(job)
    now[0], job.step, job.train.waited = 4.0, 4, 1.0
    clock.pause(job)  # an evaluation between two events
    now[0] = 50.0
    clock.resume(job)
    now[0], job.step, job.train.waited = 56.0, 10, 2.0
    event = clock.event(job, {"loss": 1.0}, 0.1)
    assert (event["images_per_second"], event["data_wait"]) == (10.0, 0.2)
    assert (job.seconds, job.waited) == (10.0, 2.0)


def test_a_run_in_fp16_is_scored_where_there_is_none(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    shutil.copytree(whole, tmp_path / "run")
    file = tmp_path / "run" / "recipe.toml"
    file.write_text(file.read_text().replace('precision = "fp32"', 'precision = "fp16"'))
    assert evaluate(tmp_path / "run")["metrics"]["top1"] > 0.2


def test_a_folder_called_like_the_published_weights_is_not_taken_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("imagenet", "mine.pth"):
        (tmp_path / name).mkdir()
    assert absolute(replace(TINY, weights="imagenet")).weights == "imagenet"
    assert absolute(replace(TINY, weights="mine.pth")).weights == str(tmp_path / "mine.pth")


def test_the_first_ctrl_c_says_what_a_second_one_does(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), StopFlag() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked and "Ctrl-C again stops at once" in capfd.readouterr().err
        signal.raise_signal(signal.SIGINT)


def test_a_signal_after_the_last_step_says_how_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="resume="):
        patch.setattr("xfer.train.loop.finish", stops)
        train(tmp_path / "b")
    assert not (tmp_path / "b" / ".writer.lock").exists()
    assert fit(resume=tmp_path / "b", verbosity=-1).result["steps"] == 20


def test_a_signal_during_the_last_evaluation_saves(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.evaluate_now

    def signalled(job: Job, run: Run, show: Any) -> None:
        real(job, run, show)
        if job.step == job.steps:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(loop, "evaluate_now", signalled)
        train(tmp_path / "b")
    assert checkpoint.load_state(tmp_path / "b" / "last" / "state.pt")["step"] == 20
    fit(resume=tmp_path / "b", verbosity=-1)
    assert equal(whole, tmp_path / "b")


def test_a_run_is_trained_by_one_process(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one resumes, another that resumes the same folder is told so and changes nothing."""
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(7, patch, die)
        train(tmp_path / "b")
    real, told = loop.evaluate_now, list[str]()

    def meanwhile(job: Job, run: Run, show: Any) -> None:
        for start in (
            lambda: fit(resume=run.path, verbosity=-2),
            lambda: fit(TINY, run.path, overwrite=True, verbosity=-2),
        ):
            with pytest.raises(DataError, match="has been writing into it since") as caught:
                start()
            told.append(caught.value.message)
        real(job, run, show)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate_now", meanwhile)
        fit(resume=tmp_path / "b", verbosity=-1)
    assert told
    assert equal(whole, tmp_path / "b")


def test_a_run_folder_that_is_removed_ends_training_and_stays_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove() -> None:
        shutil.rmtree(tmp_path / "b")

    with monkeypatch.context() as patch:
        stop_at(7, patch, remove)
        with pytest.raises(DataError, match="removed, renamed or unmounted"):
            train(tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_the_line_that_resumes_can_be_typed_as_it_is() -> None:
    with command_line():
        assert "--resume 'my runs/1'" in str(Interrupted(Path("my runs/1")))


def test_resuming_from_python_takes_nothing_else(whole: Path) -> None:
    with pytest.raises(XferError, match="own recipe"):
        xfer.finetune(resume=whole, epochs=9)


def test_resuming_a_finished_run_changes_nothing(whole: Path) -> None:
    before = (whole / "log.jsonl").read_bytes()
    assert fit(resume=whole).result["steps"] == 20
    assert (whole / "log.jsonl").read_bytes() == before


def test_resuming_on_other_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(7, patch, die)
        train(tmp_path / "b")
    recipe = Run(tmp_path / "b").recipe()
    other = changed(recipe, data={"limit": 330})
    from xfer.recipe.toml import dump

    (tmp_path / "b" / "recipe.toml").write_text(dump(other))
    with pytest.raises(DataError, match="changed since"):
        fit(resume=tmp_path / "b", verbosity=-1)


def test_a_loss_that_is_not_finite_stops_with_what_to_try_and_keeps_what_was_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Job.add_losses

    def spoil(job: Job, found: dict[str, torch.Tensor]) -> None:
        real(job, {k: v * float("nan") for k, v in found.items()} if job.step == 12 else found)

    monkeypatch.setattr(Job, "add_losses", spoil)
    with pytest.raises(DivergedError, match="nan at step 13"):
        train(tmp_path / "b")
    assert weights(tmp_path / "b")
    assert checkpoint.load_state(tmp_path / "b" / "last" / "state.pt")["step"] in (5, 10)
    assert not (tmp_path / "b" / "result.json").exists()


def test_out_of_memory_names_the_batch_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xfer.task import get

    classify = get("classify")
    real = classify.forward

    def forward(task: Any, batch: Any) -> Any:
        if len(batch) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(task, batch)

    monkeypatch.setattr(classify, "forward", forward)
    with pytest.raises(XferError, match=r"batch=16 fits.*accumulate=4"):
        train(tmp_path / "b")


def test_accumulating_gives_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    plain = changed(TINY, schedule={"steps": 1}, data={"augment": "none"}, optim={"name": "sgd"})
    plain = replace(
        plain, task_options={"head": "flat", "dropout": 0.0}, backbone_options={"batch_norm": False}
    )
    train(tmp_path / "a", plain)
    train(tmp_path / "b", changed(plain, optim={"accumulate": 3}))
    one, two = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.allclose(one[k], two[k], atol=1e-6) for k in one)
    assert math.isclose(losses(tmp_path / "a")[1], losses(tmp_path / "b")[1], rel_tol=1e-5)


def test_without_a_val_split_the_last_weights_are_kept_and_test_is_scored_once(
    tmp_path: Path,
) -> None:
    summary = train(tmp_path / "a", changed(TINY, data={"val": "none", "test": "val"}))
    assert "metrics" not in summary.result and summary.result["test_metrics"]["top1"] > 0.2
    assert summary.result["best_step"] == summary.result["steps"]


def test_early_stopping_ends_the_run(tmp_path: Path) -> None:
    recipe = changed(TINY, schedule={"epochs": 50, "stop_after": 2}, optim={"lr": 1e-9})
    assert train(tmp_path / "a", recipe).result["steps"] < 100


def test_a_dry_run_leaves_nothing_behind(tmp_path: Path) -> None:
    assert "dry run" in train(tmp_path / "a", dry_run=True).line()
    assert not (tmp_path / "a").exists()


def test_a_batch_larger_than_the_set_is_one_partial_batch(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    summary = train(tmp_path / "a", changed(TINY, data={"batch": 1000}))
    assert summary.result["steps"] == 4
    assert "training pictures for a batch of" in capfd.readouterr().err


def test_mirror_images_at_test_alone_are_warned_of(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "a", changed(TINY, data={"flip": False}, eval={"tta": "flip"}), dry_run=True)
    assert "training sees no mirror images, but eval.tta=flip" in capfd.readouterr().err
    train(tmp_path / "b", changed(TINY, data={"flip": False}, eval={"tta": "none"}), dry_run=True)
    assert "mirror images" not in capfd.readouterr().err


def test_a_warm_up_that_the_schedule_does_not_have_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("onecycle", "linear"):
        recipe = changed(schedule={"name": name, "warmup": 1.0})
        recipe = replace(recipe, given=frozenset({"schedule.warmup"}))
        fit(recipe, tmp_path / "run", dry_run=True, verbosity=-1)
        told = "schedule.warmup=1 has no effect" in capfd.readouterr().err
        assert told == (name == "onecycle")


def test_what_does_not_fit_into_a_short_run_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    short = changed(TINY, data={"limit": 64, "batch": 16}, schedule={"epochs": 2})

    def told(**tables: dict[str, Any]) -> str:
        train(tmp_path / "a", changed(short, **tables), dry_run=True)
        return capfd.readouterr().err

    frozen = told(optim={"freeze_epochs": 2})
    assert "optim.freeze_epochs=2: the run has 2 epochs, so the backbone thaws after half" in frozen
    assert "thaws" not in told(optim={"freeze_epochs": 1})
    assert "thaws" not in told(optim={"freeze_epochs": 5, "freeze": "all"})
    warm = told(schedule={"warmup": 5.0})
    assert "schedule.warmup=5: the run has 2 epochs, so the warm-up is shortened to half" in warm
    assert "shortened" not in told(schedule={"warmup": 1.0})
    rare = told(schedule={"stop_after": 2}, eval={"every": 5})
    assert "schedule.stop_after=2 has no effect: the run is scored 1 time, every 5 e" in rare
    plateau = told(schedule={"name": "plateau", "patience": 2})
    assert "schedule.patience=2 has no effect: the run is scored 2 times" in plateau
    assert "nothing" not in told(schedule={"name": "plateau", "patience": 1, "stop_after": 1})


def test_what_is_given_in_epochs_follows_the_run_s_length() -> None:
    """A set passed more often than its recipe says stretches every phase; a short run caps it."""
    base = changed(TINY, data={"limit": 64, "batch": 16}, optim={"freeze_epochs": 2})

    def phases(**schedule: Any) -> tuple[int, int, int, int]:
        recipe = changed(base, schedule={"name": "linear", "warmup": 1.0, **schedule})
        job = Job(recipe, CPU, open_recipe_data(recipe))
        return job.steps, job.thaw_step, job.schedule.warmup, job.eval_steps

    assert phases(epochs=10) == (40, 8, 4, 4)
    assert phases(epochs=10, min_steps=400) == (400, 80, 40, 40)
    assert phases(epochs=3) == (12, 6, 4, 4)
    assert phases(steps=6) == (6, 3, 3, 4)
    assert phases(steps=1) == (1, 0, 0, 4)


def test_a_state_of_before_goes_on_with_the_phase_that_it_was_saved_in() -> None:
    """Its backbone thawed after the passes asked for, in a run of however many of them."""
    recipe = changed(TINY, data={"limit": 64, "batch": 16}, optim={"freeze_epochs": 3},
                     schedule={"epochs": 4})  # fmt: skip
    job = Job(recipe, CPU, open_recipe_data(recipe))
    assert (job.steps, job.thaw_step) == (16, 8)
    job.thaw_step, job.step = 12, 10  # as it was: still frozen
    job._build_optimizer()
    state = {**job.state(), "random": []}
    del state["thaw_step"]
    again = Job(recipe, CPU, open_recipe_data(recipe))
    again.load_state(state)
    assert again.thaw_step == 12
    assert [g.name for g in again.groups] == [g.name for g in job.groups]
    assert again.state()["thaw_step"] == 12


def test_a_model_loads_from_its_folder_and_predicts_as_it_was_scored(whole: Path) -> None:
    from xfer.inference.evaluate import evaluate

    model = xfer.load(whole, device="cpu")
    assert model.place.precision == "fp32"  # the run's own, whatever is quicker here
    assert model.classes == tuple("0123456789")
    result = json.loads((whole / "result.json").read_text())
    again = evaluate(whole, device="cpu")
    assert math.isclose(again["metrics"]["top1"], result["metrics"]["top1"], abs_tol=0.02)
    assert again["split"] == "val" and "views" in again["protocol"]


def test_python_calls_mirror_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = xfer.finetune(
        data="digits", backbone="tiny_nets:tiny", weights="none", epochs=1, limit=128, batch=32,
        data__size=32, run__plots=False, run__report=False, verbosity=-1,
    )  # fmt: skip
    assert run.path.parent == Path("runs") and run.result["primary"] == "top1"
    image = torch.randint(0, 255, (40, 50, 3), dtype=torch.uint8).numpy()
    assert len(run.predict([image, image])) == 2
