"""What only a GPU shows: `pytest -m gpu`, under 3 minutes on one card. Elsewhere: skipped, but with
XFER_PRETENDED_GPU=1 they run on the pretended one, as far as it goes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_host_waits import NET, first_losses

import xfer
from xfer.data.pack.writer import Packing, pack
from xfer.device import Place, find_device
from xfer.nn.roi_pool import roi_align
from xfer.ops.nms import Suppression, best_boxes
from xfer.ops.suppress import best_of_batch
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import Recipe
from xfer.testing.host_waits import CASES, recipe_of
from xfer.testing.pretended_gpu import pretended_gpu
from xfer.train.job import Job
from xfer.train.loop import fit
from xfer.train.step import train_step
from xfer.types import FeatureSpec

PRETENDED = os.environ.get("XFER_PRETENDED_GPU") == "1"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (PRETENDED or torch.cuda.is_available()), reason="needs a CUDA device"),
]
real = pytest.mark.skipif(PRETENDED, reason="a pretended GPU can't show it")
CARD = "cuda"


@pytest.fixture(autouse=True)
def card() -> Iterator[None]:
    if not PRETENDED:
        yield
        return
    with pretended_gpu():
        yield


def small(**keys: Any) -> Recipe:
    return recipe_of(CASES["classify"], NET, 8, {"run.device": CARD, **keys})


@pytest.mark.parametrize("name", CASES)
def test_the_losses_of_a_step_are_a_cpus(name: str) -> None:
    cpu = first_losses(name, Place(torch.device("cpu")))
    gpu = first_losses(name, Place(find_device(CARD)))
    assert gpu == pytest.approx(cpu, rel=2e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_train(precision: str) -> None:
    losses = first_losses("faster_rcnn", Place(find_device(CARD), precision))
    assert all(np.isfinite(list(losses.values())))


def test_suppression_and_pooling_are_a_cpus() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 300, (2, 500, 1, 2))
    boxes = torch.tensor(np.concatenate([corner, corner + rng.uniform(20, 99, corner.shape)], 3))
    boxes, scores = boxes.float(), torch.tensor(rng.uniform(0, 1, (2, 500, 3))).float()
    labels = torch.arange(3).expand(2, 500, 3).flatten(1)
    places = boxes.expand(-1, -1, 3, -1).reshape(2, -1, 4)
    rules = Suppression(0.4, 0.1, 100)
    there = best_of_batch(places.to(CARD), scores.flatten(1).to(CARD), labels.to(CARD), rules)
    for n in range(2):
        wanted = best_boxes(boxes[n], scores[n], rules)
        assert torch.equal(there.boxes[n].cpu(), wanted[0])
        assert torch.equal(there.labels[n].cpu(), wanted[2])
    maps, spec = torch.randn(2, 8, 30, 30), FeatureSpec("conv5", 8, 16, 163, 15.0)
    regions = [one[:50, 0] for one in boxes]
    pooled = roi_align(maps, regions, spec, 7)
    on_card = roi_align(maps.to(CARD), [one.to(CARD) for one in regions], spec, 7)
    torch.testing.assert_close(on_card.cpu(), pooled, rtol=1e-4, atol=1e-4)


def test_a_run_of_a_cpu_goes_on_in_fp16(tmp_path: Path) -> None:
    job = Job(small(), Place(torch.device("cpu")), open_recipe_data(small()))
    train_step(job, next(job.batches()))
    job.step += 1
    state = {**job.state(), "random": []}
    there = Job(small(), Place(find_device(CARD), "fp16"), open_recipe_data(small()))
    there.load_state(state)
    losses = train_step(there, next(there.batches()).to(there.place.device))
    assert there.step == 1 and all(v.isfinite() for v in losses.values())


def test_a_run_resumes_and_its_files_were_written_beside_the_training(tmp_path: Path) -> None:
    recipe = small(**{"run.save_minutes": 1e-6, "schedule.epochs": 2})
    whole = fit(recipe, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last" / "state.pt", weights_only=True)
    assert state["step"] > 0 and all(not v.is_cuda for v in state["task"].values())
    assert whole.result["steps"] >= state["step"]
    again = xfer.load(tmp_path / "run", device=CARD)
    assert len(again.predict([np.zeros((40, 50, 3), np.uint8)] * 3)) == 3


@real
def test_deterministic_runs_are_equal_to_the_bit(tmp_path: Path) -> None:
    recipe = small(**{"run.deterministic": True, "schedule.epochs": 1, "run.report": False})
    for name in ("a", "b"):
        fit(recipe, tmp_path / name)
    one, two = ((tmp_path / n / "best.safetensors").read_bytes() for n in ("a", "b"))
    assert one == two


@real
def test_the_backbone_compiles() -> None:
    recipe = small(**{"run.compile": True})
    job = Job(recipe, Place(find_device(CARD), "bf16"), open_recipe_data(recipe))
    losses = train_step(job, next(job.batches()).to(job.place.device))
    assert all(v.isfinite() for v in losses.values())


@real
def test_batch_norms_can_be_synchronised() -> None:
    place = replace(Place(find_device(CARD)), world=1)
    recipe = small(**{"run.sync_bn": True})
    losses = train_step(
        job := Job(recipe, place, open_recipe_data(recipe)),
        next(job.batches()).to(place.device),
    )
    assert all(v.isfinite() for v in losses.values())


def test_features_are_a_cpus(tmp_path: Path) -> None:
    rows: list[Any] = []
    for device in ("cpu", CARD):
        torch.manual_seed(0)
        rows.append(xfer.features(
            "digits", backbone=NET, layer="conv2", weights="none", limit=16, device=device,
            precision="fp32", cache=False,
        )[0])  # fmt: skip
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("decode", ["host", "device"])
def test_crops_and_jpeg_can_be_left_to_the_device(tmp_path: Path, decode: str) -> None:
    if PRETENDED and decode == "device":
        pytest.skip("the pretended GPU decodes no JPEG")
    pack("digits", tmp_path, Packing(side=64, raw=decode == "host"))
    recipe = small(**{
        "data.source": str(tmp_path), "data.crop_on": "device", "data.decode": decode,
    })  # fmt: skip
    job = Job(recipe, Place(find_device(CARD)), open_recipe_data(recipe))
    assert job.crop_on == "device"
    losses = train_step(job, next(job.batches()).to(job.place.device))
    assert all(v.isfinite() for v in losses.values())


@real
def test_a_cpu_run_makes_no_context_on_the_card() -> None:
    code = (
        "import torch\n"
        "from test_gpu import small\n"
        "from xfer.train.job import Job\n"
        "from xfer.recipe.data import open_recipe_data\n"
        "from xfer.device import placed, random_states, seed_everything\n"
        "from xfer.train.step import train_step\n"
        "with placed('cpu') as place:\n"
        "    job = Job(small(), place, open_recipe_data(small()))\n"
        "    train_step(job, next(job.batches()))\n"
        "    random_states()\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
