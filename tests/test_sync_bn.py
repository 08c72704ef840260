"""Batch norms over all processes: which become such, and where that is refused.

That they count right is torch's word: it needs several GPUs, so it is not measured here.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_loop import CPU, TINY, changed
from torch import nn

from xfer.device import Place, sync_batch_norms
from xfer.errors import XferError
from xfer.recipe.data import open_recipe_data
from xfer.train.job import Job, build_task

TWO = Place(torch.device("cpu"), "fp32", 0, 2)
GPUS = Place(torch.device("cuda", 0), "fp32", 0, 2)


def test_on_a_processor_it_is_refused_with_what_to_do() -> None:
    recipe = changed(TINY, run={"sync_bn": True})
    with pytest.raises(XferError, match=r"run\.sync_bn needs GPUs") as caught:
        Job(recipe, TWO, open_recipe_data(recipe))
    assert caught.value.code == 2 and "run.sync_bn=false" in str(caught.value)


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
