"""task.dropout is the dropout of all of a classifier: of the net's fc6 and fc7, and of the head."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xfer.backbones.base import SequentialBackbone, backbones
from xfer.backbones.build import create_backbone
from xfer.backbones.tail import Tail
from xfer.data.open import open_data
from xfer.device import Place
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import DataTable, OptimTable, Recipe, RunTable
from xfer.recipe.toml import load_recipe
from xfer.tasks.classify import Classify, Options
from xfer.train.job import Job, build_task
from xfer.train.progress import Progress
from xfer.types import DataInfo, Preprocess

INFO = DataInfo("synthetic", "classify", ("a", "b", "c"))


def net(dropout_first: bool = False, dropout: float = 0.5) -> SequentialBackbone:
    """One convolution over 32 px, and fc6 and fc7 of a few units."""
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3, 8, 1), nn.ReLU())
    tail = Tail((4, 2, 2), (8, 6), dropout, dropout_first)
    return SequentialBackbone("tailed", Preprocess(size=32, resize=32), trunk, {"conv1": 1},
                              tail=tail)  # fmt: skip


def classifier(dropout_first: bool, share: float = 0.3) -> Any:
    torch.manual_seed(0)
    options = Options(head="tail", dropout=share)
    return Classify(net(dropout_first), INFO, options, DataTable())


@pytest.fixture
def drops(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The shares that are dropped in a pass, in order."""
    seen: list[float] = []

    def dropout(x: Tensor, p: float, training: bool) -> Tensor:
        if training:
            seen.append(p)
        return x

    monkeypatch.setattr("xfer.backbones.tail.dropout", dropout)
    monkeypatch.setattr("xfer.nn.dropout.dropout", dropout)
    return seen


@pytest.mark.parametrize("dropout_first", [False, True])
def test_a_classifier_drops_twice_as_its_authors_did_and_by_one_share(
    dropout_first: bool, drops: list[float]
) -> None:
    task = classifier(dropout_first)
    images = torch.rand(2, 3, 32, 32)
    task.train().logits(images)
    assert drops == [0.3, 0.3]
    drops.clear()
    task.eval().logits(images)
    assert drops == []


@pytest.mark.parametrize("dropout_first", [False, True])
def test_what_is_frozen_drops_nothing_and_the_head_on_it_does(
    dropout_first: bool, drops: list[float]
) -> None:
    task = classifier(dropout_first)
    stages = {stage.name: stage.module for stage in task.stages()}
    images = torch.rand(2, 3, 32, 32)
    task.freeze([stages["conv1"], stages["fc6"], stages["fc7"]])
    task.train().logits(images)
    assert drops == [0.3]
    drops.clear()
    task.head(torch.rand(2, 6))  # as on kept features
    assert drops == [0.3]
    drops.clear()
    task.freeze([])
    task.train().logits(images)
    assert drops == [0.3, 0.3]


def tailed() -> list[str]:
    with torch.device("meta"):
        return [n for n in backbones.names() if create_backbone(n).tail is not None]


def test_the_share_reaches_every_net_with_a_tail() -> None:
    names = tailed()
    assert {"alexnet", "alexnet_2012", "alexnet_bn", "caffenet", "vgg16", "zfnet"} <= set(names)
    for name in names:
        with torch.device("meta"):
            backbone = create_backbone(name)
            task = Classify(backbone, INFO, Options(head="tail", dropout=0.3), DataTable())
        assert backbone.tail is not None and backbone.tail.dropout == 0.3, name
        assert list(task.head.state_dict()) == ["1.weight", "1.bias"], name


@pytest.mark.parametrize(
    ("recipe", "share"),
    [("pretrain/imagenet", 0.25), ("pretrain/imagenet-fast", 0.1), ("pretrain/imagenet-2012", 0.5)],
)
def test_the_dropout_that_a_recipe_states_is_that_of_its_net(recipe: str, share: float) -> None:
    with torch.device("meta"):
        task: Any = build_task(load_recipe(recipe), open_data("digits", limit=2, check=False))
    assert task.options.head == "tail"
    assert (task.backbone.tail.dropout, task.head[0].p) == (share, share)


@pytest.mark.parametrize("dropout_first", [False, True])
def test_weights_of_before_load_and_predict_as_they_did(dropout_first: bool) -> None:
    task = classifier(dropout_first)
    old = nn.ModuleDict({
        "backbone": net(dropout_first), "head": nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))
    })  # fmt: skip
    task.load_state_dict(old.state_dict())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        last: Any = old.eval()
        expected = last["head"](last["backbone"](images, want="fc7")["fc7"])
        assert torch.equal(task.eval().logits(images), expected)


def test_a_copy_of_a_classifier_looks_at_its_own_tail() -> None:
    """The moving average of the weights is such a copy."""
    task = classifier(True)
    twin: Any = copy.deepcopy(task)
    assert twin.head[0]._tail[0] is twin.backbone.tail
    assert twin.backbone.tail is not task.backbone.tail


def test_dropout_asked_of_the_backbone_is_told_to_count_for_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    recipe = Recipe(
        backbone="alexnet_bn", weights="none", task_options={"head": "avg", "dropout": 0.2},
        data=DataTable(source="digits", size=64, limit=8, workers=0), optim=OptimTable(),
        run=RunTable(precision="fp32"),
    )  # fmt: skip
    for options, told in (({"dropout": 0.4}, True), ({}, False)):
        asked = replace(recipe, backbone_options=options)
        job = Job(asked, Place(torch.device("cpu")), open_recipe_data(asked))
        Progress(-1).model(job)
        line = "backbone.dropout=0.4 has no effect: classify uses task.dropout=0.2"
        assert (line in capfd.readouterr().err) == told
