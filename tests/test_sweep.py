"""`xfer sweep`: settings compared over seeds, resumed after any cut, within a budget."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfer
from xfer.cli.app import main
from xfer.errors import DivergedError, XferError
from xfer.metrics.paired_groups import Group, compare_groups
from xfer.metrics.resampled import Ratios
from xfer.recipe.choose import build_recipe
from xfer.recipe.tables import Recipe
from xfer.recipe.toml import load_recipe
from xfer.trials.budget import Budget
from xfer.trials.grid import settings_of, split_lists
from xfer.trials.runner import Bench

SHARED: dict[str, Any] = {
    "backbone": "tiny_nets:tiny", "weights": "none", "limit": 40, "steps": 2, "workers": 0,
    "run__plots": False, "run__report": False, "eval__tta": "none", "eval__while_training": "",
    "verbosity": -1, "trust": "tiny_nets",
}  # fmt: skip
GRID = {"lr": [1e-3, 1e-2]}


def swept(out: Path, grid: Any = None, **settings: Any) -> dict[str, Any]:
    given = {**SHARED, "seeds": 2, "out": out, **settings}
    given["schedule__steps"] = given.pop("steps")
    return xfer.sweep("digits", grid or GRID, **given)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweeps") / "sw"
    swept(out)
    return out


def test_a_sweep_leaves_runs_a_table_and_a_recipe(sweep: Path) -> None:
    found = json.loads((sweep / "sweep.json").read_text())
    assert [(row["optim.lr"], row["n"]) for row in found["settings"]] == [(1e-3, 2), (1e-2, 2)]
    assert all({"mean", "deviation", "scores"} <= row.keys() for row in found["settings"])
    assert found["complete"] and len(found["runs"]) == 4 and (sweep / "settings.png").is_file()
    results = [json.loads(p.read_text()) for p in sorted(sweep.glob("*/result.json"))]
    assert len(results) == 4 and not any("test_metrics" in result for result in results)
    best = load_recipe(str(sweep / "best.toml"))
    assert best.optim.lr == found["best"]["optim.lr"] and best.data.test == ""
    assert best.data.limit == 40 and best.schedule.steps == 2
    assert found["next"] == f"xfer finetune --recipe {sweep / 'best.toml'}"


def test_what_was_finished_is_kept_and_the_rest_done(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "sw"
    shutil.copytree(sweep, out)
    for run in sorted(out.glob("*_seed=1")):  # killed before its end, and before its first file
        (run / "result.json").unlink()
    shutil.rmtree(out / "optim.lr=0.01_seed=0")
    (out / "sweep.json").write_text('{"runs": [')  # cut while somebody copied it
    before = {p: p.stat().st_mtime_ns for p in out.glob("optim.lr=0.001_seed=0/*.json")}
    found = swept(out)
    assert found["complete"] and len(list(out.glob("*/result.json"))) == 4
    assert before == {p: p.stat().st_mtime_ns for p in before}
    assert [r["score"] for r in found["runs"]] == [
        r["score"] for r in json.loads((sweep / "sweep.json").read_text())["runs"]
    ]
    with pytest.raises(
        XferError, match=r"optim.lr=0.001_seed=0 is of another experiment: schedule"
    ):
        swept(out, steps=3)


def test_a_budget_ends_a_sweep_which_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([1e9, 1e9, 1e9])
    monkeypatch.setattr(Budget, "left", property(lambda self: next(moments, -1.0)))
    cut = swept(tmp_path / "sw", seeds=3, budget=1.0)
    assert not cut["complete"] and 1 <= sum(r["state"] == "finished" for r in cut["runs"]) < 6
    monkeypatch.undo()
    assert swept(tmp_path / "sw", seeds=3)["complete"]


def test_halving_keeps_the_better_half(tmp_path: Path) -> None:
    found = swept(tmp_path / "sw", {"lr": [1e-3, 1e-2, 3e-2]}, seeds=1, method="halving", steps=4)
    lengths = sorted(row["share"] for row in found["settings"])
    assert lengths == [0.25, 0.5, 1.0] and found["best"]["n"] == 1
    assert "one seed" in found["verdict"] or "best" in found["verdict"]


def test_a_setting_that_diverges_is_out_and_not_tried_again(tmp_path: Path) -> None:
    grid, more = {"lr": [1e-3, 1e30]}, {"optimizer": "sgd", "steps": 4, "seeds": 1}
    found = swept(tmp_path / "sw", grid, **more)
    assert found["settings"][1]["diverged"] == 1 and found["best"]["optim.lr"] == 1e-3
    log = tmp_path / "sw" / "optim.lr=1e+30_seed=0" / "log.jsonl"
    before = log.read_bytes() if log.is_file() else b""
    assert swept(tmp_path / "sw", grid, **more)["settings"][1]["diverged"] == 1
    assert (log.read_bytes() if log.is_file() else b"") == before
    with pytest.raises(DivergedError, match="every setting diverged"):
        swept(tmp_path / "sw2", {"lr": [1e30, 2e30]}, **more)


def test_values_are_divided_at_commas_outside_brackets() -> None:
    single, lists = split_lists(
        ["data.crop_area=[0.2,1],[0.5,1.0]", "optim.ema=0.9", "x.y=a,'b,c'"]
    )
    assert single == ["optim.ema=0.9"]
    assert lists == {"data.crop_area": [[0.2, 1], [0.5, 1.0]], "x.y": ["a", "b,c"]}


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({"run.seed": [0, 1]}, "seeds=N"),
        ({"data.val": ["a", "b"]}, "can't be compared"),
        ({"lr": [1e-3]}, "two or more different values"),
        ({"lr": [1e-3, 0.001]}, "two or more different values"),
        ({"optim.lrr": [1, 2]}, "optim.lr"),
    ],
)  # fmt: skip
def test_what_can_not_be_compared_is_refused(grid: Any, says: str) -> None:
    with pytest.raises(XferError) as caught:
        settings_of(Recipe(), grid)
    assert says in str(caught.value)


def test_no_val_and_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(XferError, match="leave out val='none'"):
        swept(tmp_path / "sw", val="none")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(XferError, match="neither empty nor a sweep"):
        swept(tmp_path / "mine")
    assert main(["sweep", "--data", "digits", "--out", str(tmp_path / "new")]) == 2


def test_differences_within_chance_are_not_found_and_large_ones_are() -> None:
    rng = np.random.default_rng(0)

    def group(share: float) -> Group:
        rows = [(rng.random(150) < share).astype(float) for _ in range(3)]
        return Group([Ratios.of_values(row) for row in rows], (0, 1, 2))

    near, far = compare_groups([group(0.7), group(0.7), group(0.95)])[0::2]
    assert not near.beyond_chance and far.beyond_chance and far.low > 0.1
    alone = Group([Ratios.of_values(np.ones(50))], (0,))
    other = Group([Ratios.of_values(np.zeros(50))], (0,))
    assert not compare_groups([alone, other])[0].beyond_chance  # one seed each


def test_the_data_are_opened_once_without_test() -> None:
    bench = Bench(Budget())
    one = build_recipe("digits", settings={"limit": 20})
    other = build_recipe("digits", settings={"limit": 20, "lr": 1.0, "batch": 4})
    assert bench.data(one) is bench.data(other) and "test" not in bench.data(one).splits
