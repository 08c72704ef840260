"""A recipe's values keep their types and rules, and a mistyped key is told its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest

from xfer.errors import XferError
from xfer.recipe.tables import (
    FIELDS,
    FLAGS,
    REPLACES,
    Recipe,
    checked,
    differences,
    flatten,
    override,
)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schedule.epochs", -3, "schedule.epochs must be above 0, got -3"),
        ("schedule.epochs", "ten", "schedule.epochs must be a number, got 'ten'"),
        ("schedule.epochs", True, "schedule.epochs must be a number, got True"),
        ("schedule.epochs", float("inf"), "schedule.epochs must be a finite number, got inf"),
        ("optim.lr", float("nan"), "optim.lr must be a finite number, got nan"),
        ("optim.momentum", 1.5, "optim.momentum must be below 1, got 1.5"),
        ("optim.ema", 1, "optim.ema must be below 1, got 1"),  # it would never move
        ("run.seed", 2**63, "run.seed must be at most"),  # more than torch takes
        ("data.batch", 0, "data.batch must be at least 1, got 0"),
        ("data.batch", 1.0, "data.batch must be a whole number, got 1.0"),
        ("data.batch", False, "data.batch must be a whole number, got False"),
        ("data.flip", 1, "data.flip must be true or false, got 1"),
        ("data.source", 7, "data.source must be text, got 7"),
        ("data.augment", "stong", "data.augment must be one of none, light, standard, strong"),
        ("data.crop_area", 0.5, "data.crop_area must be a list, got 0.5"),
        ("data.crop_area", [0.5], r"data.crop_area must hold 2 values, got 1: \[0.5\]"),
        ("data.crop_area", [0, 1], "data.crop_area must be above 0, got 0"),
        ("data.crop_area", [0.5, 2], "data.crop_area must be at most 1, got 2"),
        ("data.crop_area", [0.9, 0.5], r"data.crop_area must not decrease, got \[0.9, 0.5\]"),
        ("schedule.milestones", [0.5, 30], "schedule.milestones must be at most 1, got 30"),
        ("weights", 3, "weights must be text, got 3"),
        ("task.head", None, "task.head must be text, a number, true, false or a list"),
    ],
)
def test_a_value_against_the_rules_names_key_rule_and_value(
    key: str, value: Any, message: str
) -> None:
    with pytest.raises(XferError, match=message):
        override(Recipe(), {key: value})


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("optim.momentun", "did you mean momentum?"),
        ("optm.lr", "did you mean optim.lr?"),
        ("momentum", "did you mean optim.momentum?"),
        ("epochs", "did you mean schedule.epochs?"),
        ("optim.epochs", "did you mean schedule.epochs?"),
        ("optimiser", "did you mean optim.name?"),
        ("bakbone", "did you mean backbone"),
        ("eval", "eval is a table: eval.every, eval.tta, eval.while_training, eval.batch"),
    ],
)
def test_an_unknown_key_is_told_the_nearest(key: str, hint: str) -> None:
    with pytest.raises(XferError) as caught:
        override(Recipe(), {key: 1})
    assert caught.value.message == f"unknown key {key}"
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_values_arrive_in_the_field_s_type() -> None:
    recipe = override(
        Recipe(),
        {"optim.lr": 1, "data.crop_area": [0.2, 1], "schedule.milestones": [], "data.limit": 5},
    )
    assert recipe.optim.lr == 1.0 and type(recipe.optim.lr) is float
    assert recipe.data.crop_area == (0.2, 1.0)
    assert recipe.schedule.milestones == ()
    assert recipe.data.limit == 5
    assert recipe.run == Recipe().run


def test_every_default_keeps_its_own_rules() -> None:
    recipe = Recipe()
    flat = {key: value for key, value in flatten(recipe).items() if key in FIELDS}
    assert len(flat) == len(FIELDS)
    assert override(recipe, flat) == recipe
    # also in type, so that the file of a run is the same once it was read and written again
    again = flatten(override(recipe, flat))
    assert [type(again[key]) for key in flat] == [type(value) for value in flat.values()]


def test_every_flag_sets_a_key_that_exists() -> None:
    for key in FLAGS.values():
        assert key in FIELDS or key in ("backbone", "weights")


def test_what_a_layer_may_replace_exists_and_has_a_default_that_means_nothing() -> None:
    for key, others in REPLACES.items():
        assert key in FIELDS
        assert [FIELDS[other].default for other in others] == [0] * len(others)


def test_options_follow_their_owner() -> None:
    paper = override(Recipe(), {"backbone": "alexnet_2012", "backbone.lrn": "paper"})
    assert paper.backbone_options == {"lrn": "paper"}
    assert override(paper, {"backbone.init": "bvlc"}).backbone_options == {
        "lrn": "paper",
        "init": "bvlc",
    }
    # the same net named once more keeps them, another one starts without
    assert override(paper, {"backbone": "alexnet_2012"}) == paper
    assert override(paper, {"backbone": "resnet18"}).backbone_options == {}
    assert override(paper, {"backbone.name": "zfnet", "backbone.init": "paper"}) == replace(
        paper, backbone="zfnet", backbone_options={"init": "paper"}
    )
    headed = override(Recipe(), {"task.head": "avg"})
    assert override(headed, {"task": "detect"}).task_options == {}


def test_differences_name_the_keys_of_either_side() -> None:
    old = override(Recipe(), {"task.head": "avg", "optim.lr": 1e-3})
    new = override(Recipe(), {"optim.lr": 2e-3, "backbone.lrn": "paper"})
    assert differences(old, new) == {
        "task.head": ("avg", None),
        "optim.lr": (1e-3, 2e-3),
        "backbone.lrn": (None, "paper"),
    }
    assert differences(old, old) == {}


def test_a_task_s_own_options_are_checked_by_the_same_rules() -> None:
    @dataclass(frozen=True)
    class Options:
        scales: tuple[int, ...] = field(default=(1,), metadata={"help": "", "min": 1})
        names: tuple[str, ...] = ()

    scales, names = fields(Options)
    assert checked("task.scales", [1, 2], scales) == (1, 2)
    assert checked("task.names", [], names) == ()
    with pytest.raises(XferError, match=r"task\.scales must be at least 1, got 0"):
        checked("task.scales", [1, 0], scales)
    with pytest.raises(XferError, match=r"task\.names must be text, got 1"):
        checked("task.names", ["a", 1], names)
