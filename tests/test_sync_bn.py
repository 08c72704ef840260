"""Batch norms over all processes: which become such, and where that is refused.

That they count right is torch's word: it needs several GPUs, so it is not measured here. Without a
process group they compute what plain ones do, which is.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import CPU, TINY, changed
from torch import nn

from xfer import load
from xfer.backbones.build import make_backbone
from xfer.device import Place
from xfer.errors import XferError
from xfer.nn.sync_norm import sync_batch_norms
from xfer.recipe.data import open_recipe_data
from xfer.train.job import Job, build_task
from xfer.train.loop import fit

TWO = Place(torch.device("cpu"), "fp32", 0, 2)
GPUS = Place(torch.device("cuda", 0), "fp32", 0, 2)


def test_on_a_processor_it_is_refused_with_what_to_do() -> None:
    recipe = changed(TINY, run={"sync_bn": True})
    with pytest.raises(XferError, match=r"run\.sync_bn needs GPUs") as caught:
        Job(recipe, TWO, open_recipe_data(recipe))
    assert caught.value.code == 2 and "run__sync_bn=False" in str(caught.value)


def test_one_process_keeps_its_batch_norms() -> None:
    recipe = changed(TINY, run={"sync_bn": True})
    running = Job(recipe, CPU, open_recipe_data(recipe))
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in running.task.modules())


def test_every_batch_norm_becomes_one_over_processes_with_its_weights() -> None:
    recipe = changed(TINY, run={"sync_bn": True})
    task: Any = build_task(recipe, open_recipe_data(recipe))
    before = {k: v.clone() for k, v in task.state_dict().items()}
    plain = [type(m) for m in task.modules()].count(nn.BatchNorm2d)
    assert sync_batch_norms(task, GPUS) is task
    kinds = [type(m) for m in task.modules()]
    assert kinds.count(nn.SyncBatchNorm) == plain > 0 and nn.BatchNorm2d not in kinds
    after = task.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[k], before[k]) for k in after)
    images = torch.rand(2, 3, 32, 32)
    task.eval()  # scoring needs no other process, nor a GPU
    assert task.logits(images).shape == (2, 10)
    stages = [stage.module for stage in task.stages()]
    task.train()
    task.freeze(stages[:1])
    norms = [m for m in task.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert any(m is n for s in stages for m in s.modules() for n in norms)


# nets with timm's BatchNormAct2d, of each maker of nets that uses it; two with torch's norms; one
# with both. densenet's norms are read by hooks
NETS = (
    "timm:test_efficientnet", "timm:test_byobnet", "timm:mobilenetv3_small_050",
    "timm:regnetx_002", "timm:densenet121", "timm:test_maxvit", "timm:resnet10t", "timm:dla34",
    "timm:hardcorenas_a", "timm:mobilevit_xxs", "timm:ghostnet_050", "alexnet_bn", "resnet18",
    "torchvision:mobilenet_v3_small",
)  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_a_net_computes_the_same_before_and_after(name: str) -> None:
    torch.manual_seed(0)
    plain: Any = make_backbone(name, weights="none")
    for module in plain.modules():  # as if trained
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)  # pyright: ignore[reportArgumentType]
    side = plain.preprocess.size if plain.fixed_side else 64
    images = torch.randn(2, 3, side, side)
    changed_net = copy.deepcopy(plain)
    sync_batch_norms(changed_net, GPUS)
    assert any(isinstance(m, nn.SyncBatchNorm) for m in changed_net.modules())
    last = (plain.last,)
    for mode in ("eval", "train", "frozen"):
        for net in (plain, changed_net):
            net.train(mode == "train")
            if mode == "frozen":  # its first stage evaluates while the rest trains
                net.train()
                net.stages()[0][1].eval()
        with torch.no_grad():
            torch.manual_seed(1)
            one = plain(images, want=last)[plain.last]
            torch.manual_seed(1)
            two = changed_net(images, want=last)[plain.last]
        assert torch.equal(one, two), mode
    for (key, a), (other, b) in zip(
        plain.state_dict().items(), changed_net.state_dict().items(), strict=True
    ):
        assert key == other and torch.equal(a, b)


def test_a_norm_that_computes_more_is_refused_and_none_is_changed() -> None:
    class Own(nn.BatchNorm2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) + 1

    net = nn.Sequential(nn.BatchNorm2d(3), Own(3))
    with pytest.raises(XferError, match=r"run\.sync_bn: 1 is a .*Own, which computes more"):
        sync_batch_norms(net, GPUS)
    assert type(net[0]) is nn.BatchNorm2d


def test_what_such_a_run_saves_is_loaded_to_the_same_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xfer.nn.sync_norm import synchronise

    recipe = changed(
        TINY, data={"limit": 32, "batch": 16}, schedule={"epochs": 1}, run={"sync_bn": True}
    )
    recipe = replace(recipe, backbone="timm:test_byobnet", task_options={"head": "avg"})
    seen: list[Any] = []

    def converted(task: Any, _: Any) -> Any:
        synchronise(task)
        seen.append(task)
        return task

    monkeypatch.setattr("xfer.train.job.sync_batch_norms", converted)
    fit(recipe, tmp_path / "run", verbosity=-1)
    (trained,) = seen
    loaded: Any = load(tmp_path / "run").task
    assert any(isinstance(m, nn.SyncBatchNorm) for m in trained.modules())
    images = torch.rand(2, 3, 32, 32)
    trained.load_state_dict(loaded.state_dict())
    with torch.no_grad():
        assert torch.equal(trained.eval().logits(images), loaded.logits(images))
