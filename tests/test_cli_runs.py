"""`xfer runs`: finished, unfinished and damaged run folders are listed, shown and compared."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from xfer.cli.app import main
from xfer.errors import DataError, XferError
from xfer.recipe.tables import Recipe, override
from xfer.recipe.toml import dump, load_recipe
from xfer.runs.compare import compare_runs
from xfer.runs.listing import find_runs, list_runs, show_run


def fake_run(path: Path, recipe: Recipe, top1: float | None = None, steps: int = 40) -> Path:
    """A run folder as `xfer.runs.folder` writes it; unfinished if it has no score."""
    path.mkdir(parents=True)
    (path / "recipe.toml").write_text(dump(recipe), encoding="utf-8")
    events: list[dict[str, Any]] = [
        {"event": "train", "step": steps // 2, "loss": 1.5, "lr": 0.1},
        {"event": "train", "step": steps, "loss": 0.5, "lr": 0.01},
        {"event": "eval", "step": steps, "metrics": {"top1": 0.75, "loss": 0.9}},
    ]
    text = "".join(json.dumps(event) + "\n" for event in events) + '{"event": "tra'
    (path / "log.jsonl").write_text(text, encoding="utf-8")
    if top1 is not None:
        result = {
            "schema": 1, "task": "classify", "primary": "top1", "steps": steps, "seconds": 12.5,
            "metrics": {"top1": top1, "loss": 0.9, "per_class": {"ant": {"acc": 1.0, "n": 2}}},
            "test_metrics": {"top1": top1 - 0.125},
        }  # fmt: skip
        (path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return path


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("classify/digits")


@pytest.fixture
def runs(tmp_path: Path, recipe: Recipe) -> Path:
    top = tmp_path / "runs"
    fake_run(top / "a", recipe, 0.5)
    other = override(recipe, {"optim.lr": 0.25, "backbone": "zfnet", "backbone.init": "paper"})
    fake_run(top / "group" / "b", other, 0.625)
    fake_run(top / "c", recipe, steps=30)
    (top / "damaged").mkdir()
    (top / "damaged" / "recipe.toml").write_text("[optim", encoding="utf-8")
    (top / "no-run").mkdir()
    return top


def test_runs_are_found_at_any_level_but_not_inside_of_runs(runs: Path, recipe: Recipe) -> None:
    fake_run(runs / "a" / "inside", recipe)
    names = [path.relative_to(runs).as_posix() for path in find_runs(runs)]
    assert names == ["a", "c", "damaged", "group/b"]
    assert find_runs(runs / "nowhere") == []


def test_a_row_says_how_far_a_run_is_and_its_main_score(runs: Path) -> None:
    for age, name in enumerate(("group/b", "damaged", "c", "a")):
        for file in (runs / name).iterdir():
            os.utime(file, (1e9 + 60 * age, 1e9 + 60 * age))
    done, going, damaged, other = list_runs(runs)
    assert done["date"] > going["date"] > damaged["date"] > other["date"]
    assert (done["state"], done["metric"], done["val"], done["test"]) == (
        "finished", "top1", 0.5, 0.375,
    )  # fmt: skip
    assert (going["state"], going["steps"], going["val"]) == ("unfinished", 30, None)
    assert damaged["state"].startswith("damaged: ")
    assert (other["backbone"], other["data"], other["steps"]) == ("zfnet", "digits", 40)
    with pytest.raises(DataError, match="no folder"):
        list_runs(runs / "nowhere")


def test_a_run_is_shown_with_what_it_changed_in_its_recipe(runs: Path) -> None:
    found = show_run(runs / "group" / "b")
    assert found["base"] == "classify/digits"
    assert found["changed"] == {
        "backbone": ["alexnet_bn", "zfnet"],
        "optim.lr": [load_recipe("classify/digits").optim.lr, 0.25],
        "backbone.init": [None, "paper"],
    }
    going = show_run(runs / "c")
    assert going["result"] == {} and "step 30" in going["state"]
    assert going["last"]["train"]["loss"] == 0.5
    assert going["last"]["eval"]["metrics"]["top1"] == 0.75
    with pytest.raises(XferError, match="not a run folder"):
        show_run(runs / "no-run")
    with pytest.raises(XferError, match="no such folder"):
        show_run(runs / "nowhere")


def test_a_recipe_of_the_user_s_is_held_against_the_defaults(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "r", override(Recipe(name="mine.toml"), {"optim.lr": 0.5}), 0.5)
    found = show_run(run)
    assert (found["recipe"], found["base"]) == ("mine.toml", "the defaults")
    assert found["changed"] == {"optim.lr": [1e-4, 0.5]}


def test_comparing_shows_scores_and_the_keys_that_differ(runs: Path) -> None:
    found = compare_runs([runs / "a", runs / "group" / "b", runs / "c"])
    assert found["val"] == {"top1": [0.5, 0.625, None], "loss": [0.9, 0.9, None]}
    assert found["test"] == {"top1": [0.375, 0.5, None]}
    assert set(found["recipe"]) == {"backbone", "backbone.init", "optim.lr"}
    assert found["recipe"]["backbone.init"] == [None, "paper", None]
    with pytest.raises(XferError, match="two runs"):
        compare_runs([runs / "a"])


def test_damaged_results_are_named(runs: Path) -> None:
    (runs / "a" / "result.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"result\.json: not valid JSON"):
        show_run(runs / "a")
    states = {Path(row["run"]).name: row["state"] for row in list_runs(runs)}
    assert "result.json: not valid JSON" in states["a"] and len(states) == 4


def test_the_commands_print_tables_or_one_document(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [["ls", str(runs)], ["show", str(runs / "group" / "b")],
                ["show", str(runs / "c")],
                ["compare", str(runs / "a"), str(runs / "group" / "b")]]  # fmt: skip
    wanted = ["unfinished", "alexnet_bn", "0.75", "recipe optim.lr"]
    for words, word in zip(commands, wanted, strict=True):
        assert main(["runs", *words]) == 0
        assert word in capsys.readouterr().out
        assert main(["runs", *words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)


def test_runs_as_a_flat_table(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {"schema": 1, "device": "cpu", "versions": {"torch": "9"}, "command": ["a", "b"]}
    (runs / "a" / "env.json").write_text(json.dumps(environment), encoding="utf-8")
    for name in ("runs.csv", "runs.parquet"):
        assert main(["runs", "table", str(runs), "-o", str(tmp_path / name)]) == 0
        assert "4 runs" in capsys.readouterr().out
    with (tmp_path / "runs.csv").open(encoding="utf-8", newline="") as file:
        rows = {Path(row["run"]).name: row for row in csv.DictReader(file)}
    assert (rows["a"]["val.top1"], rows["a"]["test.top1"]) == ("0.5", "0.375")
    assert (rows["a"]["env.versions.torch"], rows["a"]["env.command"]) == ("9", '["a", "b"]')
    assert (rows["b"]["optim.lr"], rows["b"]["backbone"]) == ("0.25", "zfnet")
    assert (rows["c"]["state"], rows["c"]["val.top1"]) == ("unfinished", "")
    assert rows["damaged"]["state"].startswith("damaged") and not rows["damaged"]["task"]
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "runs.parquet").to_pylist()
    assert sorted(row["val.top1"] or 0 for row in table) == [0, 0, 0.5, 0.625]
    assert main(["runs", "table", str(runs)]) == 0
    assert capsys.readouterr().out == (tmp_path / "runs.csv").read_text(encoding="utf-8")
    assert main(["runs", "table", str(runs), "-o", str(tmp_path / "runs.xls")]) == 2


def test_wrong_folders_end_with_a_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "ls", str(runs / "nowhere")]) == 3
    assert main(["runs", "ls", str(runs / "no-run")]) == 0
    assert main(["runs", "show", str(runs / "no-run")]) == 2
    assert main(["runs", "compare", str(runs / "a")]) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert "no runs in" in shown.err
    assert shown.out == ""
