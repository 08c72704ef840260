"""Which recipe a command or a call comes to, and what it says about the choice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pictures import write_picture

import xfer
from xfer import cli
from xfer.data.open import open_data
from xfer.data.readers.base import ReadOptions
from xfer.data.readers.folder import Folder
from xfer.data.spec import open_spec
from xfer.errors import XferError
from xfer.recipe.choose import build_recipe, check
from xfer.recipe.tables import Recipe


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Data of a kind, looked at without being there."""
    calls: list[dict[str, Any]] = []

    def open_data(opened: Any, **options: Any) -> Any:
        calls.append({"spec": opened.spec, **options})
        kind = "multilabel" if opened.spec.endswith(".csv") else "classify"
        return SimpleNamespace(kind=kind, notes=())

    monkeypatch.setattr("xfer.data.open.open_data", open_data)
    monkeypatch.setattr(
        "xfer.data.spec.open_spec", lambda spec, options: SimpleNamespace(spec=spec)
    )
    return calls


def test_the_task_is_found_by_looking_at_the_data_and_said(
    opened: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels.csv").write_text("id,label\na.jpg,cat\n")
    lines: list[str] = []
    recipe = build_recipe("labels.csv", settings={"val": "none"}, say=lines.append)
    assert (recipe.task, recipe.name, recipe.data.source) == (
        "classify", "classify/default", "labels.csv",
    )  # fmt: skip
    assert opened == [{"spec": "labels.csv", "check": False, "find": False, "val": "none"}]
    assert lines == [
        "task classify: labels.csv holds several labels per picture",
        "recipe classify/default: there is none specific to labels.csv",
    ]


def test_a_large_json_is_not_read_to_find_the_task(
    tmp_path: Path, opened: list[dict[str, Any]]
) -> None:
    """Here it could not even be: the lists stand for a file that is being written."""
    file = tmp_path / "result.json"
    file.write_text('{"images": [], "categories": [], "annotations": [')
    for spec in (str(file), str(tmp_path), f"coco:{tmp_path}"):
        assert build_recipe(spec).task == "detect"
    assert opened == []
    assert build_recipe("digits").task == "classify" and opened == []


def test_data_is_not_opened_where_the_task_is_known(opened: list[dict[str, Any]]) -> None:
    lines: list[str] = []
    assert build_recipe("digits", "classification", say=lines.append).name == "classify/digits"
    assert build_recipe("", "", "classify/digits", say=lines.append).data.source == "digits"
    assert build_recipe("x/", settings={"task.name": "cls"}).task == "classify"
    keys = {"task": "detect", "data.source": "digits"}  # as the last words of a command
    last = build_recipe("x/", "cls", settings=keys)
    assert (last.name, last.data.source) == ("detect/digits", "digits")
    assert opened == [] and lines == []


def test_a_call_s_arguments_are_flags_or_keys(opened: list[dict[str, Any]]) -> None:
    settings = {"epochs": 3, "optim__ema": 0.5, "optim.clip": 1, "task__head": "avg", "lr": None,
                "crop_area": None}  # fmt: skip
    recipe = build_recipe("digits", "cls", settings=settings)
    assert (recipe.schedule.epochs, recipe.optim.ema, recipe.optim.clip) == (3.0, 0.5, 1.0)
    assert recipe.task_options["head"] == "avg"
    with pytest.raises(XferError, match="unknown key epoch") as caught:
        build_recipe("digits", "cls", settings={"epoch": 3})
    assert "epochs" in (caught.value.hint or "")


def test_epochs_that_were_asked_for_count_in_a_recipe_of_steps(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('extends = "classify/digits"\n[schedule]\nsteps = 500\n')
    assert build_recipe("digits", recipe=str(file)).schedule.steps == 500
    asked = build_recipe("digits", recipe=str(file), settings={"epochs": 2}).schedule
    assert (asked.epochs, asked.steps, asked.min_steps) == (2, 0, 0)
    both = build_recipe("digits", recipe=str(file), settings={"epochs": 2, "schedule.steps": 7})
    assert (both.schedule.epochs, both.schedule.steps) == (2, 7)
    file.write_text('extends = "classify/default"\n[schedule]\nepochs = 2\n')
    assert build_recipe("digits", recipe=str(file)).schedule.min_steps == 0


def test_an_option_that_goes_with_other_settings_chooses_their_recipe() -> None:
    lines: list[str] = []
    settings = {"task.detector": "fcos", "optim.lr": 1e-4}
    chosen = build_recipe("photos/", "detect", settings=settings, say=lines.append)
    assert (chosen.name, chosen.optim.lr) == ("detect/fcos", 1e-4)
    assert lines == ["recipe detect/fcos, made for task.detector=fcos"]
    assert build_recipe("coco", "detect", settings=settings).name == "detect/fcos"
    asked = build_recipe("photos/", "detect", "detect/default", settings=settings)
    assert asked.name == "detect/default", "a recipe that was asked for stays"
    plain = build_recipe("photos/", "detect", settings={"task.detector": "faster"})
    assert plain.name == "detect/default"


def test_a_recipe_of_another_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfer.task.names", lambda: ["classify", "detect"])
    with pytest.raises(XferError, match="classify/default is for classify, not for detect"):
        build_recipe("photos/", "det", "classify/default")


def test_data_must_come_from_somewhere(tmp_path: Path) -> None:
    with pytest.raises(XferError, match="no data given"):
        build_recipe()
    with pytest.raises(XferError, match="no data given"):
        build_recipe(recipe="classify/default")


@pytest.mark.parametrize(
    ("recipe", "message", "hint"),
    [
        (Recipe(task="detekt"), "unknown task 'detekt'", "detect"),
        (Recipe(task_options={"hed": "flat"}), "unknown key task.hed", "head"),
        (Recipe(task_options={"head": "flatt"}), "task.head must be one of", ""),
        (Recipe(task_options={"dropout": 2}), "task.dropout must be at most 1, got 2", ""),
        (Recipe(backbone="alexnett"), "unknown backbone 'alexnett'", "alexnet"),
        (Recipe(backbone="alexnet_2012", backbone_options={"lnr": "paper"}), "'lnr'", "lrn"),
    ],
)
def test_names_and_options_are_checked_by_their_owners(
    recipe: Recipe, message: str, hint: str
) -> None:
    with pytest.raises(XferError, match=message) as caught:
        check(recipe)
    assert hint in (caught.value.hint or "")


def test_checking_gives_the_task_its_own_name() -> None:
    assert check(Recipe(task="cls", backbone="alexnet_2012", backbone_options={"lrn": "paper"}))
    assert check(Recipe(task="cls")).task == "classify"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options of each time that a folder is read."""
    calls: list[Any] = []
    real = Folder.load

    def load(self: Folder, path: Path, options: Any) -> Any:
        calls.append(options)
        return real(self, path, options)

    monkeypatch.setattr(Folder, "load", load)
    return calls


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(24):
        write_picture(tmp_path / f"photos/{'ab'[i % 2]}/{i}.png", seed=i)
    return tmp_path / "photos"


TINY = ["--backbone", "tiny_nets:tiny", "--weights", "none", "--workers", "1", "-q", "--dry-run"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--task", "classify"],
        ["--seed", "3", "--limit", "12", "--val", "none"],
        ["data.skip_bad=true"],
        ["--recipe", "classify/default"],
    ],
    ids=" ".join,
)
def test_data_are_read_once(photos: Path, loads: list[Any], words: list[str]) -> None:
    assert cli.main(["finetune", "--data", str(photos), *TINY, *words]) == 0
    assert [one.skip_bad for one in loads] == ["data.skip_bad=true" in words]


def test_data_are_read_again_where_the_options_make_a_difference(
    photos: Path, loads: list[Any]
) -> None:
    opened = open_spec(str(photos))
    assert open_spec(opened, kinds=("classify", "multilabel")) is opened
    first = open_data(opened).fingerprint()
    assert len(loads) == 1 and first == open_data(str(photos)).fingerprint()
    assert open_spec(opened, ReadOptions(skip_bad=True)) is not opened
    assert [one.skip_bad for one in loads] == [False, False, True]


def test_the_call_reads_them_once_too(photos: Path, loads: list[Any], tmp_path: Path) -> None:
    xfer.finetune(
        photos, backbone="tiny_nets:tiny", weights="none", epochs=1, out=tmp_path / "run",
        workers=1, verbosity=-1, run__plots=False, run__report=False,
    )  # fmt: skip
    assert len(loads) == 1
