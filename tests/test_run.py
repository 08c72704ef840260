"""The run folder."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from xfer.errors import DataError, XferError
from xfer.files import check_folder
from xfer.recipe.tables import DataTable, Recipe
from xfer.runs.folder import Run, environment
from xfer.train.loop import fit

RECIPE = Recipe(data=DataTable(source="digits"))


def test_the_recipe_comes_back_from_the_folder(tmp_path: Path) -> None:
    run = Run.create(RECIPE, tmp_path / "r")
    assert replace(Run.open(run.path).recipe(), name="") == RECIPE


def test_folders_are_numbered_when_no_name_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [Run.create(RECIPE, None).path.as_posix() for _ in range(2)]
    assert names == ["runs/classify-alexnet-digits-1", "runs/classify-alexnet-digits-2"]


def test_a_finished_run_is_kept_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    run = Run.create(RECIPE, tmp_path)
    run.write_json("result.json", {"schema": 1})
    run.log("train", step=1)
    with pytest.raises(XferError, match="finished run"):
        Run.create(RECIPE, tmp_path)
    again = Run.create(RECIPE, tmp_path, overwrite=True)
    assert not again.finished and again.events() == []


def test_an_unfinished_run_is_kept_and_the_hint_resumes_it(tmp_path: Path) -> None:
    Run.create(RECIPE, tmp_path)
    with pytest.raises(XferError, match="resume="):
        Run.create(RECIPE, tmp_path)


def test_overwriting_leaves_other_peoples_files_alone(tmp_path: Path) -> None:
    Run.create(RECIPE, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "old.png").write_text("")
    Run.create(RECIPE, tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "plots" / "old.png").exists()


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    for overwrite in (False, True):
        with pytest.raises(XferError, match="neither empty nor a run"):
            Run.create(RECIPE, tmp_path, overwrite=overwrite)


def test_a_place_that_can_not_be_written_is_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").touch()
    with pytest.raises(DataError, match="notes is a file, not a folder"):
        Run.check_free(tmp_path / "notes" / "deep" / "run")
    # the tests may run as root, who may write anywhere
    monkeypatch.setattr("xfer.files.os.access", lambda path, mode: path != tmp_path)
    for fresh in (tmp_path / "a" / "b", tmp_path):
        with pytest.raises(DataError, match=f"{tmp_path} is not writable"):
            check_folder(fresh)
    monkeypatch.chdir(tmp_path)
    recipe = replace(RECIPE, data=DataTable(source="nowhere"))
    with pytest.raises(DataError, match="is not writable"):  # not that there are no data
        fit(recipe, verbosity=-1)


def test_what_a_killed_start_left_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".recipe.toml.x1y2.tmp").write_text("task = ")
    assert Run.create(RECIPE, tmp_path).exists


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path: Path) -> None:
    run = Run.create(RECIPE, tmp_path)
    run.save_state({"step": 1})
    for name in (".best.safetensors.a1.tmp", "last/.state.pt.b2.tmp"):
        (tmp_path / name).write_bytes(b"half")
    run.sweep()
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["recipe.toml", "state.pt"]


def test_runs_that_start_together_get_a_folder_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Run.create(RECIPE, None).path, range(16)))
    assert len(set(made)) == 16


def test_opening_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(XferError, match=r"recipe\.toml"):
        Run.open(tmp_path)
    with pytest.raises(XferError, match="no such folder"):
        Run.open(tmp_path / "nowhere")


def test_a_log_line_that_was_cut_off_is_left_out_and_rewinding_drops_later_steps(
    tmp_path: Path,
) -> None:
    run = Run.create(RECIPE, tmp_path)
    for step in (1, 2, 3):
        run.log("train", step=step, loss=0.5)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "train", "st')
    assert [e["step"] for e in run.events()] == [1, 2, 3]
    run.log("eval", step=2)
    run.rewind_log(2, evaluated=1)
    run.log("resume", step=2)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(e["event"], e["step"]) for e in lines] == [("train", 1), ("train", 2), ("resume", 2)]


def test_last_appears_only_with_a_state_in_it(tmp_path: Path) -> None:
    run = Run.create(RECIPE, tmp_path)
    run.save_state({"step": 1})
    run.save_state({"step": 2})
    assert [p.name for p in (tmp_path / "last").iterdir()] == ["state.pt"]


def test_a_damaged_json_is_named(tmp_path: Path) -> None:
    run = Run.create(RECIPE, tmp_path)
    (tmp_path / "model.json").write_text('{"task": ')
    with pytest.raises(XferError, match=r"model\.json: not valid JSON"):
        run.read_json("model.json")


def test_the_environment_names_versions_and_the_command() -> None:
    env = environment(world_size=1)
    assert env["versions"]["torch"] and env["command"] and env["world_size"] == 1
