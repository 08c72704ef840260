"""What pretraining recipes need: sizes that grow, lighting, windows, the linear rule, LARS."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from imagenet_sets import NAMES, write_imagenette

from xfer import kinds
from xfer import task as tasks
from xfer.backbones.build import create_backbone
from xfer.backbones.report import WeightReport
from xfer.data.open import open_data
from xfer.data.sources.base import ArraySource, Bundle
from xfer.data.transforms.crops import TrainTransform
from xfer.data.transforms.pca_colours import principal_colours
from xfer.device import Place
from xfer.errors import DataError, XferError
from xfer.recipe.choose import build_recipe
from xfer.recipe.tables import Recipe, override
from xfer.recipe.toml import load_recipe, recipe_names
from xfer.testing.source import SyntheticSource
from xfer.train.job import Job, build_task
from xfer.types import DataInfo

PRETRAIN = (
    "pretrain/imagenet",
    "pretrain/imagenet-2012",
    "pretrain/imagenet-fast",
    "pretrain/tiny",
)


def job(**values: Any) -> Job:
    settings = {
        "backbone": "tiny_nets:tiny", "weights": "none", "task.head": "avg", "data.size": 64,
        "data.batch": 4, "data.workers": 0, "data.source": "synthetic", "run.precision": "fp32",
        "schedule.epochs": 3, "data.cache_mb": 0,
        **{k.replace("__", "."): v for k, v in values.items()},
    }  # fmt: skip
    splits = {"train": SyntheticSource(17), "val": SyntheticSource(4, split="val", seed=1)}
    info = splits["train"].info
    bundle = Bundle("synthetic", "source", "classify", info.classes, dict(splits))
    return Job(override(Recipe(), settings), Place(torch.device("cpu")), bundle)


def sizes(running: Job, steps: int) -> list[int]:
    found: list[int] = []
    batches = running.batches()
    for _ in range(steps):
        found.append(next(batches).images.shape[-1])
        running.step += 1
    batches.close()
    return found


def test_training_pictures_grow_by_equal_shares_of_the_run() -> None:
    running = job(task__sides=[32, 48, 64])
    assert running.steps == 12
    assert sizes(running, 12) == [32] * 4 + [48] * 4 + [64] * 4
    assert running.task.preprocess.size == 64


@pytest.mark.parametrize("start", [1, 3, 4, 7, 11])
def test_a_resumed_run_sees_the_same_pictures(start: int) -> None:
    whole, later = job(task__sides=[32, 48, 64]), job(task__sides=[32, 48, 64])
    expected = [next_images(whole.batches(), 12)[k] for k in range(start, 12)]
    later.step = start
    found = next_images(later.batches(), 12 - start)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def next_images(batches: Any, count: int) -> list[torch.Tensor]:
    found = [next(batches).images for _ in range(count)]
    batches.close()
    return found


def test_lighting_comes_from_the_colours_of_the_data() -> None:
    rng = np.random.default_rng(0)
    direction = np.array([2.0, 1.0, -1.0]) / np.sqrt(6)
    values = rng.normal(0, 20, (6, 50, 40, 1)) * direction + rng.normal(0, 2, (6, 50, 40, 3)) + 128
    images = values.clip(0, 255).round().astype(np.uint8)
    info = DataInfo("x", "classify", ("a", "b"))
    source = ArraySource(info, images, np.zeros(6, np.int64), [str(i) for i in range(6)])
    rows = principal_colours(source)
    pixels = images.reshape(-1, 3).astype(np.float64)
    assert np.allclose(rows.T @ rows, np.cov(pixels.T, bias=True), rtol=1e-3, atol=0.05)
    assert abs(rows[0] @ direction) / np.linalg.norm(rows[0]) > 0.99
    assert np.linalg.norm(rows[0]) == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize("backbone", ["alexnet_bn", "caffenet"])
def test_lighting_shifts_whole_pictures_in_training_alone(backbone: str) -> None:
    """A net that reads BGR 0..255 and one that reads normalised RGB see the same colours."""
    running = job(backbone=backbone, task__lighting=0.1, data__size=0, task__head="avg")
    task: Any = running.task
    images = task.backbone.normalise(torch.full((64, 3, 4, 4), 100, dtype=torch.uint8))
    torch.manual_seed(3)
    moved = (task._lit(images) - images)[:, :, 0, 0]
    assert torch.equal(task._lit(images)[0, :, 0, 0], task._lit(images)[0, :, 3, 2]) is False
    spread = task._lit(images) - images
    assert torch.allclose(spread, spread[:, :, :1, :1].expand_as(spread))
    own = task.backbone.preprocess
    pixels = moved * torch.tensor(own.std) / own.scale
    pixels = pixels.flip(1) if own.channels == "bgr" else pixels
    along = pixels @ torch.linalg.inv(task.light)  # in standard deviations of each component
    assert 0.07 < along.std().item() < 0.13
    task.eval()
    batch = next(running.train.batches(0))
    first, again = task.forward(batch), task.forward(batch)
    assert torch.equal(first["cross_entropy"], again["cross_entropy"])


def test_a_window_is_cut_at_the_scale_of_the_test() -> None:
    y, x = np.mgrid[0:300, 0:400]
    image = np.stack([x // 2, y // 2, x * 0], 2).astype(np.uint8)
    seen: set[tuple[int, int]] = set()
    for seed in range(40):
        cut = TrainTransform(224, window=256, flip=False, augment="light")
        part = cut(image, np.random.default_rng(seed)).astype(int)
        side = 300 * 224 / 256
        assert part[0, -1, 0] - part[0, 0, 0] == pytest.approx(side / 2, abs=2)
        assert part[-1, 0, 1] - part[0, 0, 1] == pytest.approx(side / 2, abs=2)
        seen.add((int(part[0, 0, 0]), int(part[0, 0, 1])))
    assert len(seen) > 20


def test_the_rate_grows_with_the_batch_unless_it_was_asked_for() -> None:
    assert job(optim__lr=0.1, optim__lr_batch=8).peak_lr == pytest.approx(0.05)
    assert job(optim__lr=0.1).peak_lr == pytest.approx(0.1)
    kept = build_recipe("digits", recipe="pretrain/imagenet", settings={"lr": 0.3})
    assert (kept.optim.lr, kept.optim.lr_batch) == (0.3, 0)
    scaled = build_recipe("digits", recipe="pretrain/imagenet", settings={"batch": 4096})
    assert (scaled.optim.lr, scaled.optim.lr_batch) == (0.1, 256)


@pytest.mark.parametrize("name", ["lars", "lamb", "larc"])
def test_optimisers_for_large_batches_come_from_timm(name: str) -> None:
    from xfer.train.step import train_step

    running = job(optim__name=name, optim__lr=1e-3, optim__head_scale=1)
    weights = [p for p in running.task.parameters() if p.ndim > 1]
    before = [p.detach().clone() for p in weights]
    batch = next(iter(running.train.batches(0)))
    running.begin_step()
    first = train_step(running, batch)["cross_entropy"]
    for _ in range(5):
        running.step += 1
        running.begin_step()
        last = train_step(running, batch)["cross_entropy"]
    assert not any(torch.equal(a, b) for a, b in zip(before, weights, strict=True))
    assert last < first


@pytest.mark.parametrize("name", PRETRAIN)
def test_pretraining_starts_from_nothing_and_says_what_it_costs(name: str) -> None:
    assert name in recipe_names("pretrain/*")
    recipe = load_recipe(name)
    assert recipe.weights == "none"
    assert recipe.task == "classify"


def test_pretraining_without_data_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_DATA", str(tmp_path / "nothing"))
    with pytest.raises(DataError) as caught:
        open_data(load_recipe("pretrain/imagenet").data.source)
    said = f"{caught.value.message} {caught.value.hint}"
    for word in ("nothing/imagenet", "ILSVRC2012_img_train.tar", "<wnid>", "Kaggle", "parquet",
                 "image-net.org"):  # fmt: skip
        assert word in said


@pytest.mark.slow
def test_a_run_is_a_weight_for_every_task_and_becomes_a_plain_file(tmp_path: Path) -> None:
    """A few steps of pretraining; its weights in each task, and in a file of their own."""
    from safetensors import safe_open

    from xfer.train.loop import fit

    write_imagenette(tmp_path / "in")
    values = {
        "epochs": 1, "batch": 4, "data.size": 64, "task.head": "avg", "workers": 0,
        "task.sides": [64], "run.plots": False, "run.report": False, "backbone": "alexnet_bn",
    }  # fmt: skip
    recipe = build_recipe(str(tmp_path / "in"), recipe="pretrain/tiny", settings=values)
    recipe = replace(recipe, run=replace(recipe.run, precision="fp32"))
    run = fit(recipe, tmp_path / "p", verbosity=-1)
    assert run.result["steps"] == 3
    net = create_backbone("alexnet_bn", weights=f"run:{tmp_path / 'p'}")
    assert net.weight_report is not None and net.weight_report.side == 64
    for task in tasks.names():
        asked = override(Recipe(), {"task": task, "backbone": "alexnet_bn",
                                    "weights": f"run:{tmp_path / 'p'}"})  # fmt: skip
        bundle = open_data("digits", kind=tasks.get(task).kinds, limit=2, check=False)
        first = build_task(asked, bundle).backbone.state_dict()["trunk.conv1.weight"]
        assert torch.equal(first, net.state_dict()["trunk.conv1.weight"])
    out = tmp_path / "own.safetensors"
    words = ["models", "import", f"run:{tmp_path / 'p'}", "-o", str(out)]
    done = subprocess.run([sys.executable, "-m", "xfer", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = create_backbone("alexnet_bn", weights=str(out))
    trunk = {k: v for k, v in net.state_dict().items() if k.startswith("trunk.")}
    for name, tensor in trunk.items():
        assert torch.equal(again.state_dict()[name], tensor)
    with safe_open(out, "pt") as file:
        about = file.metadata()
        assert not [k for k in file.keys() if k.startswith(("backbone.", "head."))]  # noqa: SIM118
    assert about["backbone"] == "alexnet_bn"
    card = out.with_suffix(".md").read_text(encoding="utf-8")
    for word in ("alexnet_bn", "pretrain/tiny", "top1", NAMES[0], "create_backbone"):
        assert word in card
    with pytest.raises(XferError, match="exists"):
        from xfer.runs.convert import convert

        convert(f"run:{tmp_path / 'p'}", out)


@pytest.mark.parametrize(("kind", "shown", "warned"), [
    ("detect", 480, True), ("segment", 480, True), ("detect", 160, False), ("classify", 480, False),
])  # fmt: skip
def test_weights_of_a_run_on_small_pictures_are_warned_of_where_objects_are_looked_for(
    kind: str, shown: int, warned: bool
) -> None:
    from xfer.train.progress import _from_small

    report = WeightReport("run:tiny", side=64)
    task = SimpleNamespace(
        backbone=SimpleNamespace(weight_report=report), kind=kinds.get(kind),
        preprocess=SimpleNamespace(size=shown),
    )  # fmt: skip
    job: Any = SimpleNamespace(task=task)
    lines = _from_small(job)
    assert bool(lines) == warned
    assert not warned or "64 px" in lines[0]
