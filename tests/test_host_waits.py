"""Every task trains and predicts on a (pretended) GPU, which the host hardly ever waits for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_nets import tiny  # noqa: F401  # named below

from xfer.device import Place, on_device
from xfer.recipe.data import open_recipe_data
from xfer.testing.host_waits import CASES, count_waits, recipe_of
from xfer.testing.pretended_gpu import CARD, pretended_gpu
from xfer.train.job import Job
from xfer.train.step import train_step

NET = "tiny_nets:tiny"


def test_a_pretended_gpu_counts_what_a_gpu_makes_the_host_wait_for() -> None:
    with pretended_gpu() as waits:
        there = torch.arange(6.0).pin_memory().to(CARD, non_blocking=True)
        assert there.device == CARD and there.is_cuda and torch.cuda.is_available()
        with waits.counting():
            more = F.relu(there - 2) + torch.zeros(6, device="cuda")
            assert waits.total == 0
        with waits.counting():
            assert more.sum().item() == 6
            assert there[there > 3].tolist() == [4, 5]
            there.cpu()
            for wait in (False, True):
                torch.ones(2).to(CARD, non_blocking=wait)
        assert {reason for reason, _ in waits.places} == {
            "local_scalar_dense", "boolean index", "tolist", "copy to the host",
            "copy to the device", "copy of unpinned memory",
        }  # fmt: skip
        with pytest.raises(RuntimeError, match="on cuda:0 and on the CPU"):
            there.add(torch.ones(6))
    assert not torch.cuda.is_available()


def test_a_pretended_gpu_computes_gradients_and_casts() -> None:
    with pretended_gpu():
        layer = torch.nn.Linear(3, 2).to(CARD)
        with torch.autocast("cuda", torch.bfloat16):
            scores = layer(torch.ones(4, 3, device=CARD))
            assert scores.dtype == torch.bfloat16
            loss = F.cross_entropy(scores, torch.zeros(4, dtype=torch.int64, device=CARD))
        assert loss.dtype == torch.float32
        loss.backward()
        optimizer = torch.optim.SGD(layer.parameters(), 0.1, fused=True)
        before = layer.bias.detach().cpu()
        optimizer.step()
        assert not torch.equal(layer.bias.detach().cpu(), before)


@pytest.mark.parametrize("name", CASES)
def test_a_step_and_a_prediction_on_a_gpu_hardly_wait_and_lose_the_same(name: str) -> None:
    case = CASES[name]
    waits = count_waits(case, NET, pictures=2, precision="fp32")
    assert waits.step <= case.step, waits.where
    assert waits.predict <= case.predict, waits.where
    cpu = first_losses(name, Place(torch.device("cpu")))
    assert waits.losses == pytest.approx(cpu, rel=1e-3)


IN_PARTS = {"optim.accumulate": 2, "optim.clip": 1.0, "optim.ema": 0.9}
CROPS = {"data.crop_on": "device", "data.augment": "standard", "task.lighting": 0.1}


@pytest.mark.parametrize("keys", [IN_PARTS, CROPS])
def test_a_step_in_parts_or_with_crops_on_the_device_does_not_wait(keys: dict[str, Any]) -> None:
    waits = count_waits(CASES["classify"], NET, pictures=4, precision="bf16", keys=keys)
    assert waits.step == 0, waits.where


def first_losses(name: str, place: Place) -> dict[str, float]:
    """The losses of the first step."""
    recipe = recipe_of(CASES[name], NET, pictures=2)
    job = Job(recipe, place, open_recipe_data(recipe))
    batch = next(on_device(job.batches(), place))
    job.begin_step()
    return {key: float(value) for key, value in train_step(job, batch).items()}
