"""`xfer runs compare` says whether scores are of the same pictures, and joins seeds to a mean."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xfer.cli.app import main
from xfer.recipe.tables import DataTable, Recipe, override
from xfer.recipe.toml import dump
from xfer.runs.compare import compare_runs
from xfer.runs.pictures import PICTURES

RECIPE = Recipe(name="mine", data=DataTable(source="/data/photos"))
VAL = [f"ant/{k}.jpg" for k in range(6)]


def write_run(
    path: Path, top1: float, val: Any = VAL, test: Any = None, result: Any = (), **keys: Any
) -> Path:
    """A finished run folder with this val score and these pictures."""
    path.mkdir()
    named = {key.replace("__", "."): value for key, value in keys.items()}
    (path / "recipe.toml").write_text(dump(override(RECIPE, named)))
    scores = {"metrics": {"top1": top1, "loss": 1 - top1, "per_class": {}}}
    if test is not None:
        scores["test_metrics"] = {"top1": top1 / 2}
    (path / "result.json").write_text(
        json.dumps({"primary": "top1", "data": "/data/photos", **scores, **dict(result)})
    )
    entries = {"train": ["x"], "val": val, "test": test}
    kept = {role: ids for role, ids in entries.items() if ids is not None}
    (path / "split.json").write_text(json.dumps(kept))
    return path


def write_marks(run: Path, marks: list[int], truths: list[int]) -> None:
    np.savez(run / PICTURES, val_marks=np.array(marks, np.uint64),
             val_truths=np.array(truths, np.uint64))  # fmt: skip


def test_seeds_are_a_mean_and_a_deviation(tmp_path: Path) -> None:
    seeds = [
        write_run(tmp_path / f"s{k}", top1, test=["t"], run__seed=k)
        for k, top1 in enumerate((0.5, 0.75, 0.625))
    ]
    other = write_run(tmp_path / "other", 0.25, optim__lr=0.5)
    found = compare_runs([seeds[0], other, *seeds[1:]])
    first, second = found["groups"]
    assert first["runs"] == [str(run) for run in seeds]
    assert (first["n"], first["seeds"]) == (3, [0, 1, 2])
    assert first["val"]["top1"] == {"mean": 0.625, "std": 0.125}
    assert first["test"]["top1"] == {"mean": 0.3125, "std": 0.0625}
    assert (second["n"], second["test"]) == (1, {})
    assert second["val"]["top1"] == {"mean": 0.25, "std": None}
    assert found["notes"] == []
    assert found["pictures"]["val"] == {"images": [6] * 4, "same": True, "shared": 6}
    assert found["pictures"]["test"]["images"] == [1, None, 1, 1]


def test_an_unfinished_run_is_in_no_group(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"s{k}", 0.5, run__seed=k) for k in range(3)]
    (runs[2] / "result.json").unlink()
    found = compare_runs(runs)
    assert [group["n"] for group in found["groups"]] == [2]
    assert found["pictures"]["val"]["images"] == [6, 6, None]


@pytest.mark.parametrize("seed_key", ["run__seed", "data__split_seed"])
def test_different_pictures_are_counted(tmp_path: Path, seed_key: str) -> None:
    a = write_run(tmp_path / "a", 0.5)
    b = write_run(tmp_path / "b", 0.75, val=[*VAL[2:], "bee/1.jpg", "bee/2.jpg", "bee/3.jpg"],
                  **{seed_key: 1})  # fmt: skip
    found = compare_runs([a, b])
    assert found["pictures"]["val"] == {"images": [6, 7], "same": False, "shared": 4}
    assert found["notes"] == [
        f"warning: val: the runs were scored on different pictures: {a} 6, {b} 7; 4 are in all"
    ]
    assert found["groups"][0]["n"] == 2


def test_the_bytes_of_pictures_count_where_both_runs_have_them(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", 0.5)
    b = write_run(tmp_path / "b", 0.75, val=[f"moved/{name}" for name in VAL])
    assert compare_runs([a, b])["pictures"]["val"]["shared"] == 0
    write_marks(a, [1, 2, 3, 4, 5, 6], [1, 1, 1, 2, 2, 2])
    write_marks(b, [6, 5, 4, 3, 2, 1], [2, 2, 2, 1, 1, 1])
    found = compare_runs([a, b])
    assert found["pictures"]["val"] == {"images": [6, 6], "same": True, "shared": 6}
    assert found["notes"] == []
    write_marks(b, [6, 5, 4, 3, 2, 1], [2, 2, 2, 1, 1, 2])
    assert compare_runs([a, b])["notes"] == [
        "warning: val: 1 picture has other labels in one run than in another"
    ]


def test_what_can_t_be_told_is_not_claimed(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", 0.5)
    b = write_run(tmp_path / "b", 0.5, data__source="/data/others")
    assert "can't be told" in compare_runs([a, b])["notes"][0]
    (b / "split.json").unlink()
    (line,) = compare_runs([a, b])["notes"]
    assert line == f"val: which pictures {b} was scored on is not known"
    thin = write_run(tmp_path / "thin", 0.5, result={"compressed": {}, "data": "/data/else"})
    assert str(thin) in compare_runs([a, thin])["notes"][0]


def test_splits_too_large_to_list_are_compared_by_their_fingerprints(tmp_path: Path) -> None:
    large = {"images": 300_000, "fingerprint": "aa"}
    a, b = (write_run(tmp_path / name, 0.5, val=large) for name in "ab")
    assert compare_runs([a, b])["pictures"]["val"]["same"] is True
    c = write_run(tmp_path / "c", 0.5, val={**large, "fingerprint": "bb"})
    found = compare_runs([a, b, c])
    assert found["pictures"]["val"] == {"images": [300_000] * 3, "same": False, "shared": None}
    assert "300,000" in found["notes"][0] and "in all" not in found["notes"][0]


def test_the_command_prints_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_run(tmp_path / "a", 0.5)
    b = write_run(tmp_path / "b", 0.75, val=VAL[1:], run__seed=1)
    assert main(["runs", "compare", str(a), str(b)]) == 0
    shown = capsys.readouterr()
    assert "0.6250 ± 0.1768" in shown.out and "(n = 2)" in shown.out
    assert "different pictures" in shown.err and "seeds 0, 1" in shown.err
    assert main(["runs", "compare", str(a), str(b), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["val"]["top1"]["mean"] == 0.625
    shutil.rmtree(b)
    write_run(b, 0.75, optim__lr=0.5)
    assert main(["runs", "compare", str(a), str(b)]) == 0
    shown = capsys.readouterr()
    assert "±" not in shown.out and "different" not in shown.err
