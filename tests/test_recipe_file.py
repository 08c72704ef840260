"""Recipes as TOML: what is written loads back equal, parents come first, mistakes name the file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.errors import DataError, XferError
from xfer.recipe.choose import find_recipe
from xfer.recipe.tables import FIELDS, Recipe, flatten, override
from xfer.recipe.toml import (
    copy,
    dump,
    header,
    load_recipe,
    parse_assignments,
    recipe_names,
    recipe_text,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def values_of(key: str) -> st.SearchStrategy[Any]:
    """Values that the rules of a recipe's key allow."""
    field = FIELDS[key]
    rules = field.metadata
    low = rules.get("min", rules.get("above"))
    high = rules.get("max", rules.get("below"))
    numbers = st.floats(
        low, high, allow_nan=False, allow_infinity=False, exclude_min="above" in rules,
        exclude_max="below" in rules,
    )  # fmt: skip
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "str": st.sampled_from(rules["choices"]) if "choices" in rules else TEXT,
        "int": st.integers(low, min(2**62, rules.get("max", 2**62))),
        "float": numbers,
        "bool": st.booleans(),
        "tuple[float, float]": st.tuples(numbers, numbers).map(lambda pair: tuple(sorted(pair))),
        "tuple[float, ...]": st.lists(numbers, max_size=3).map(tuple),
    }
    return kinds[str(field.type)]


PLAIN = st.one_of(TEXT, st.integers(-(2**62), 2**62), st.booleans(), st.floats(allow_nan=False))
OPTIONS = st.dictionaries(
    TEXT.filter(lambda key: key not in ("", "name") and "." not in key),
    PLAIN | st.lists(PLAIN, max_size=3).map(tuple),
    max_size=3,
)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    chosen = draw(st.sets(st.sampled_from(sorted(FIELDS)), max_size=12))
    recipe = Recipe(
        name=draw(TEXT.filter(bool)),
        task=draw(TEXT),
        backbone=draw(TEXT),
        weights=draw(TEXT),
        task_options=draw(OPTIONS),
        backbone_options=draw(OPTIONS),
    )
    return override(recipe, {key: draw(values_of(key)) for key in chosen})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@settings(max_examples=150, deadline=None)
@given(recipe=recipes())
def test_a_dumped_recipe_loads_back_equal(folder: Path, recipe: Recipe) -> None:
    file = folder / "r.toml"
    for explain in (False, True):
        file.write_text(dump(recipe, explain), encoding="utf-8")
        assert load_recipe(str(file)) == recipe


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_along_loads_with_a_note_and_under_its_task(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    folder = name.partition("/")[0]
    if folder not in ("pretrain", "smoke"):
        assert recipe.task == folder
    note = header(recipe_text(name))
    for word in ("Expect", "Cost", "Run ", "Differs"):
        assert word in note, f"{name}: the note has no line {word!r}"


def test_names_are_paths_and_match_patterns() -> None:
    assert {"classify/default", "classify/digits"} <= set(recipe_names())
    assert recipe_names("classify/dig*") == ["classify/digits"]
    assert recipe_names("nothing/*") == []


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_short_and_the_long_form_of_task_and_backbone(tmp_path: Path) -> None:
    short = write(tmp_path / "a.toml", 'name = "x"\ntask = "detect"\nbackbone = "zfnet"\n')
    long = write(
        tmp_path / "b.toml",
        'name = "x"\n[task]\nname = "detect"\nnms = 0.3\n[backbone]\nname = "zfnet"\npads = [0, 1]',
    )
    a, b = load_recipe(short), load_recipe(long)
    assert (a.task, a.backbone) == (b.task, b.backbone) == ("detect", "zfnet")
    assert (a.task_options, b.task_options) == ({}, {"nms": 0.3})
    assert b.backbone_options == {"pads": (0, 1)}


def test_a_child_s_values_win_over_its_parent_s(tmp_path: Path) -> None:
    write(tmp_path / "parent.toml", "[optim]\nlr = 0.5\nema = 0.9\n[schedule]\nepochs = 3\n")
    child = write(tmp_path / "child.toml", 'extends = "parent.toml"\n[optim]\nlr = 0.25\n')
    recipe = load_recipe(child)
    assert (recipe.optim.lr, recipe.optim.ema, recipe.schedule.epochs) == (0.25, 0.9, 3)
    assert recipe.name == child
    known = load_recipe(write(tmp_path / "c.toml", 'extends = "classify/default"\n'))
    assert flatten(known) == flatten(load_recipe("classify/default"))


@pytest.mark.parametrize(
    ("parent", "child", "expected"),  # epochs, steps, min_steps
    [
        ("epochs = 9\nmin_steps = 120", "epochs = 2", (2, 0, 0)),
        ("epochs = 9\nsteps = 500", "epochs = 2", (2, 0, 0)),
        ("epochs = 9\nmin_steps = 120", "epochs = 2\nmin_steps = 50", (2, 0, 50)),
        ("epochs = 9\nmin_steps = 120", "steps = 7", (9, 7, 0)),
        ("epochs = 9\nsteps = 500\nmin_steps = 120", "steps = 0", (9, 0, 120)),
        ("epochs = 9\nsteps = 500", "epochs = 2\nsteps = 7", (2, 7, 0)),
        ("epochs = 9\nmin_steps = 120", 'name = "linear"', (9, 0, 120)),
    ],
)
def test_a_length_that_a_file_asks_for_is_not_stretched_by_its_parent(
    tmp_path: Path, parent: str, child: str, expected: tuple[float, int, int]
) -> None:
    write(tmp_path / "parent.toml", f"[schedule]\n{parent}\n")
    middle = f'extends = "parent.toml"\n[schedule]\n{child}\n'
    write(tmp_path / "middle.toml", middle)
    lowest = write(tmp_path / "child.toml", 'extends = "middle.toml"\n[optim]\nema = 0.5\n')
    found = load_recipe(lowest).schedule
    assert (found.epochs, found.steps, found.min_steps) == expected


def test_a_rate_that_a_file_asks_for_is_not_scaled_by_its_parent(tmp_path: Path) -> None:
    text = 'extends = "pretrain/imagenet"\n[optim]\nlr = 0.3\n'
    plain = load_recipe(write(tmp_path / "a.toml", text)).optim
    assert (plain.lr, plain.lr_batch) == (0.3, 0)
    scaled = load_recipe(write(tmp_path / "b.toml", text + "lr_batch = 512\n")).optim
    assert (scaled.lr, scaled.lr_batch) == (0.3, 512)


def test_the_recipe_of_a_run_gives_every_key_and_so_replaces_none(tmp_path: Path) -> None:
    values = {"schedule.epochs": 9, "schedule.steps": 500, "schedule.min_steps": 120,
              "optim.lr": 0.3, "optim.lr_batch": 256}  # fmt: skip
    recipe = override(Recipe(name="mine"), values)
    assert all(flatten(recipe)[key] == value for key, value in values.items())
    assert load_recipe(write(tmp_path / "recipe.toml", dump(recipe))) == recipe


def test_parents_without_an_end_are_refused(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"{i}.toml").write_text(f"extends = '{tmp_path / f'{i + 1}.toml'}'\n")
    with pytest.raises(XferError, match=r"0\.toml: extends goes through more than 50 recipes"):
        load_recipe(str(tmp_path / "0.toml"))


def test_a_circle_of_parents_is_found(tmp_path: Path) -> None:
    first = write(tmp_path / "a.toml", 'extends = "b.toml"')
    write(tmp_path / "b.toml", f'extends = "../{tmp_path.name}/a.toml"')
    with pytest.raises(XferError, match=r"extends goes in a circle: .*a\.toml -> .*b\.toml -> "):
        load_recipe(first)


@pytest.mark.parametrize(
    ("text", "kind", "message", "hint"),
    [
        ("[optim]\nmomentun = 1", XferError, "unknown key optim.momentun", "mean momentum?"),
        ("[optm]\n", XferError, r"unknown table \[optm\]", "optim"),
        ("epochs = 3", XferError, "unknown key epochs", "schedule.epochs"),
        ("[data.train]\nx = 1", XferError, "data.train must be a value, not a table", None),
        ("[data]\nbatch = -1", XferError, "data.batch must be at least 1, got -1", None),
        ("extends = 3", XferError, "extends must be text, got 3", None),
        ("[task]\nday = 2020-01-01", XferError, "task.day must be text, a number", None),
        ("optim = ", DataError, "not valid TOML: Invalid value", None),
        ('task = "x"\n[task]\na = 1', DataError, "not valid TOML", "put the name inside"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(
    tmp_path: Path, text: str, kind: type[XferError], message: str, hint: str | None
) -> None:
    file = write(tmp_path / "mine.toml", text)
    with pytest.raises(kind, match=rf"mine\.toml: {message}") as caught:
        load_recipe(file)
    assert type(caught.value) is kind
    if hint is not None:
        assert hint in (caught.value.hint or "")


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(XferError, match="unknown recipe 'classify/digit'") as caught:
        load_recipe("classify/digit")
    assert (caught.value.hint or "").startswith("did you mean classify/digits")
    with pytest.raises(XferError) as caught:
        load_recipe("pretrain-nothing/imagenet")
    assert "no recipes in pretrain-nothing/" in (caught.value.hint or "")


def test_a_file_that_is_no_recipe_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.toml"):
        load_recipe(str(tmp_path / "gone.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not text in UTF-8"):
        load_recipe(str(tmp_path / "bytes.toml"))


def test_a_copy_keeps_the_comments_and_runs_alike(tmp_path: Path) -> None:
    file = tmp_path / "new" / "mine.toml"
    copy("classify/digits", file)
    assert file.read_text(encoding="utf-8") == recipe_text("classify/digits")
    assert flatten(load_recipe(str(file))) == flatten(load_recipe("classify/digits"))
    with pytest.raises(XferError, match="exists"):
        copy("classify/digits", file)


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("optim.lr=1e-3", "optim.lr", 1e-3),
        ("optim.lr=.5", "optim.lr", 0.5),
        ("data.batch=64", "data.batch", 64),
        ("data.flip=false", "data.flip", False),
        ("data.flip=True", "data.flip", True),
        ("data.crop_area=[0.2,1]", "data.crop_area", [0.2, 1]),
        ("task.head=linear", "task.head", "linear"),
        ('task.head="linear"', "task.head", "linear"),
        ("backbone.lrn = paper", "backbone.lrn", "paper"),
        ("data.train=2007", "data.train", "2007"),
        ("data.train=2007-01-01", "data.train", "2007-01-01"),
        ("data.source=a=b.csv", "data.source", "a=b.csv"),
        ("data.source=", "data.source", ""),
        ("task.note=1\nx = 2", "task.note", "1\nx = 2"),
        ("task.day=2007-01-01", "task.day", "2007-01-01"),
    ],
)
def test_assignments_are_read_as_a_person_means_them(word: str, key: str, value: Any) -> None:
    found = parse_assignments([word])
    assert found == {key: value}
    assert type(found[key]) is type(value)


@pytest.mark.parametrize("word", ["photos/", "a.b.c=1", "=1", "a b=1"])
def test_what_is_no_assignment_is_refused(word: str) -> None:
    with pytest.raises(XferError, match="is not key=value"):
        parse_assignments([word])


@given(text=st.text(max_size=30))
@settings(deadline=None)
def test_any_text_can_be_assigned(text: str) -> None:
    value = parse_assignments([f"task.x={text}"])["task.x"]
    assert isinstance(value, (str, int, float, bool, list))
    assert not isinstance(value, float) or not math.isnan(value) or "nan" in text


def test_the_data_s_name_picks_a_recipe_but_a_folder_s_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("classify", "digits")[1] == "classify/digits"
    assert find_recipe("classify", "digits:/elsewhere")[1] == "classify/digits"
    recipe, name, reason = find_recipe("classify", "photos/digits")
    assert (recipe.name, name) == ("classify/default", "classify/default")
    assert "photos/digits" in reason
    assert find_recipe("classify", "folder:digits")[1] == "classify/default"
    (tmp_path / "digits").mkdir()
    assert find_recipe("classify", "digits/")[1] == "classify/default"
    assert find_recipe("classify", "digits", "classify/digits")[1] == "classify/digits"
    with pytest.raises(XferError, match="unknown task 'nothing'"):
        find_recipe("nothing", "photos/")


@pytest.mark.parametrize("name", recipe_names())
def test_who_trains_without_mirror_images_is_not_scored_with_them(name: str) -> None:
    """Inherited views once cost detect/digits 8 points of AP50."""
    recipe = load_recipe(name)
    assert recipe.data.flip or recipe.eval.tta == "none"


@pytest.mark.parametrize("name", ["weights", "classifier", "report"])
def test_what_makes_a_backbone_is_none_of_its_options(name: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'[backbone]\nname = "alexnet"\n{name} = "none"\n')
    with pytest.raises(XferError, match=rf"mine\.toml: unknown key backbone\.{name}"):
        load_recipe(str(file))
