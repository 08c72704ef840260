"""data.split_seed draws the val split; run.seed does not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pictures import write_picture

from xfer.cli.app import main
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import DataTable, Recipe, RunTable, override
from xfer.recipe.toml import dump, load_recipe


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    for name in ("owl", "wren"):
        for k in range(15):
            write_picture(tmp_path / "birds" / name / f"{k:02d}.jpg", seed=k)
    return tmp_path / "birds"


def val_of(recipe: Recipe) -> list[str]:
    return open_recipe_data(recipe).split_json()["val"]


def test_seeds_of_a_run_share_their_val_split(birds: Path) -> None:
    recipe = Recipe(data=DataTable(source=str(birds)))
    first = val_of(recipe)
    assert len(first) == 6
    assert val_of(override(recipe, {"run.seed": 7})) == first
    assert val_of(override(recipe, {"data.split_seed": 7})) != first
    small = override(recipe, {"data.limit": 10})
    train = open_recipe_data(small).split_json()["train"]
    assert open_recipe_data(override(small, {"run.seed": 3})).split_json()["train"] == train
    assert open_recipe_data(override(small, {"data.split_seed": 3})).split_json()["train"] != train


def test_showing_data_with_a_seed_shows_the_split_of_that_split_seed(
    birds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(data=DataTable(source=str(birds)))
    for seed in (0, 4):
        assert main(["data", "show", str(birds), "--list", "--json", "--seed", str(seed)]) == 0
        items = json.loads(capsys.readouterr().out)["splits"]["val"]["items"]
        assert [name for name, _ in items] == val_of(override(recipe, {"data.split_seed": seed}))


def test_the_file_of_an_older_run_gives_its_own_split_again(birds: Path, tmp_path: Path) -> None:
    recipe = Recipe(data=DataTable(source=str(birds), split_seed=5), run=RunTable(seed=5))
    file = tmp_path / "recipe.toml"
    file.write_text(re.sub(r"(?m)^split_seed = .*\n", "", dump(recipe)))
    assert "split_seed" not in file.read_text()
    old = load_recipe(str(file))
    assert (old.data.split_seed, old.run.seed) == (5, 5)
    assert val_of(old) == val_of(recipe)


def test_a_recipe_that_only_sets_the_seed_keeps_the_split(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "classify/default"\n[run]\nseed = 5\n')
    assert load_recipe(str(file)).data.split_seed == 0
    file.write_text(dump(Recipe(run=RunTable(seed=5))))
    assert load_recipe(str(file)).data.split_seed == 0
