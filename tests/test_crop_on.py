"""Who cuts training crops (data.crop_on), and that the device's resume to equal bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_loop import CPU, TINY, Stopped, changed, die, equal, stop_at, train

from xfer.data.open import open_data
from xfer.data.pack.writer import Packing, pack
from xfer.data.sources.base import ArraySource, Bundle
from xfer.data.transforms.device_crops import is_raw_pack
from xfer.errors import XferError
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import DataTable, Recipe
from xfer.task import CachedFeatures, DeviceCrops
from xfer.testing.source import SyntheticSource
from xfer.train.job import Job
from xfer.train.loop import fit
from xfer.types import DataInfo


def packed(out: Path, raw: bool = True, sizes: tuple[int, ...] = (48,), count: int = 96) -> Path:
    """A pack of train and val, their pictures 40 px high and of these widths in turn."""
    rng = np.random.default_rng(0)
    splits: dict[str, Any] = {}
    for split, some in (("train", count), ("val", 32)):
        labels = np.arange(some) % 4
        images = [
            (rng.integers(0, 60, (40, sizes[i % len(sizes)], 3)) + 45 * labels[i]).astype(np.uint8)
            for i in range(some)
        ]
        info = DataInfo("squares", "classify", ("a", "b", "c", "d"), split)
        splits[split] = ArraySource(info, images, labels, [f"{split}{i}" for i in range(some)])
    pack(splits, out, Packing(side=0, raw=raw))
    return out


def recipe(source: Path | str, **data: Any) -> Recipe:
    return changed(TINY, data={"source": str(source), "crop_on": "device", "batch": 16,
                               "limit": 0, "augment": "standard", "flip": True, **data},
                   schedule={"epochs": 2})  # fmt: skip


def job(source: Path | str, **data: Any) -> Job:
    asked = recipe(source, **data)
    return Job(asked, CPU, open_recipe_data(asked))


def next_batches(running: Job, count: int) -> list[Any]:
    batches = running.batches()
    found = [next(batches) for _ in range(count)]
    batches.close()
    return found


def test_whole_pictures_of_one_size_are_handed_over_as_they_are(tmp_path: Path) -> None:
    running = job(packed(tmp_path / "p"))
    assert running.crop_on == "device"
    batch = next_batches(running, 1)[0]
    assert batch.images.shape == (16, 3, 40, 48) and batch.images.dtype == torch.uint8
    train, ids = running.bundle.splits["train"], list(running.bundle.splits["train"].ids)
    for image, name in zip(batch.images, batch.ids, strict=True):
        own = train[ids.index(name)].image
        assert np.array_equal(image.permute(1, 2, 0).numpy(), own)
    task: Any = running.task
    assert task._cropped(batch).shape == (16, 3, 32, 32)


def test_of_pictures_that_differ_in_size_a_random_square_is_handed_over(tmp_path: Path) -> None:
    running = job(packed(tmp_path / "p", sizes=(40, 60, 48)))
    batch = next_batches(running, 1)[0]
    assert batch.images.shape == (16, 3, 32, 32)  # the side at which the test looks at them


def test_every_source_can_be_cut_on_the_device(tmp_path: Path) -> None:
    done = train(tmp_path / "run", recipe("digits", limit=64))
    assert done.result["steps"] == 8
    assert '"crop_on": "device"' in (done.path / "env.json").read_text()


def test_auto_is_the_device_on_a_gpu_fed_from_a_raw_pack_alone(tmp_path: Path) -> None:
    raw, coded = packed(tmp_path / "raw"), packed(tmp_path / "jpeg", raw=False)
    chosen: dict[str, str] = {}
    for name, folder in (("raw", raw), ("jpeg", coded)):
        running = job(folder, crop_on="auto")
        assert running.crop_on == "host"  # no GPU
        source = running.bundle.splits["train"]
        assert isinstance(running.task, DeviceCrops)
        chosen[name] = running.task.choose_crops(source, gpu=True)
        assert is_raw_pack(source) == (name == "raw")
    assert chosen == {"raw": "device", "jpeg": "host"}
    strong = job(raw, crop_on="auto", augment="strong").task
    assert isinstance(strong, DeviceCrops) and strong.choose_crops(source, True) == "host"


@pytest.mark.parametrize("augment", ["none", "strong"])
def test_changes_that_the_device_does_not_know_are_refused(augment: str, tmp_path: Path) -> None:
    with pytest.raises(XferError, match=f"light and standard, not {augment}"):
        job("digits", augment=augment)


@pytest.mark.parametrize("name", ["detect", "segment"])
def test_tasks_that_cut_on_the_host_say_so(name: str) -> None:
    asked = replace(recipe("digits"), task=name, task_options={}, backbone="alexnet_bn")
    bundle = open_data("digits", kind=name, limit=8)
    with pytest.raises(XferError, match=r"data.crop_on=device: this task"):
        Job(asked, CPU, bundle)


@pytest.mark.parametrize("sizes", [(48,), (40, 60, 48)], ids=["one size", "several"])
def test_host_and_device_show_the_same_colours_and_shapes(
    sizes: tuple[int, ...], tmp_path: Path
) -> None:
    """Mean and deviation of pixels, of pictures' means, and of slopes across a picture."""
    folder = packed(tmp_path / "p", sizes=sizes)
    shown: dict[str, list[torch.Tensor]] = {}
    for where in ("host", "device"):
        running = job(folder, crop_on=where, crop_area=(0.5, 1.0))
        task: Any = running.task
        shown[where] = [task._cropped(b).float() for b in next_batches(running, 24)]
    host, device = (torch.cat(shown[where]) for where in ("host", "device"))
    assert host.shape == device.shape
    assert host.mean().item() == pytest.approx(device.mean().item(), rel=0.02)
    assert host.mean((1, 2, 3)).std().item() == pytest.approx(
        device.mean((1, 2, 3)).std().item(), rel=0.05
    )
    assert host.std().item() == pytest.approx(device.std().item(), rel=0.05)


@pytest.mark.parametrize("workers", [0, 3])
def test_two_processes_see_what_one_sees(workers: int, tmp_path: Path) -> None:
    folder = packed(tmp_path / "p")
    whole = next_batches(job(folder, workers=workers), 7)
    asked = recipe(folder)
    shares: list[list[Any]] = []
    for rank in range(2):
        loader = Job(asked, CPU, open_recipe_data(asked)).train
        loader.rank, loader.world = rank, 2  # type: ignore[union-attr]
        shares.append([*loader.batches(0), *loader.batches(1)])
    for number, batch in enumerate(whole):
        for rank in range(2):
            part = shares[rank][number]
            assert part.ids == batch.ids[rank::2]
            assert torch.equal(part.targets["draws"], batch.targets["draws"][rank::2])
    assert not torch.equal(whole[0].targets["draws"], whole[6].targets["draws"])


def cases() -> dict[str, Callable[[Path], Recipe]]:
    """Everything with a state at once, on a pack of one size and on pictures that are decoded."""
    states = {"head": "flat", "mixup": 0.2, "dropout": 0.3, "lighting": 0.1, "sides": (24, 32)}
    return {
        "pack": lambda p: replace(recipe(packed(p)), task_options={**states, "head": "avg"}),
        "decoded": lambda p: changed(
            recipe("digits", limit=96), optim={"accumulate": 2}, data={"augment": "light"}
        ),
        "window": lambda p: replace(
            recipe(packed(p)), task_options={"head": "avg", "crop": "window"}
        ),
    }


@pytest.mark.parametrize("case", cases())
def test_a_run_that_died_resumes_to_equal_bits(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = cases()[case](tmp_path / "p")
    train(tmp_path / "a", asked)
    for step in (3, 8):
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            stop_at(step, patch, die)
            train(tmp_path / f"b{step}", asked)
        fit(resume=tmp_path / f"b{step}", verbosity=-1)
        assert equal(tmp_path / "a", tmp_path / f"b{step}")


def test_sides_grow_on_the_device(tmp_path: Path) -> None:
    asked = replace(recipe(packed(tmp_path / "p")), task_options={"head": "avg", "sides": (16, 32)})
    running = Job(asked, CPU, open_recipe_data(asked))
    task: Any = running.task
    seen: list[int] = []
    batches = running.batches()
    for _ in range(running.steps):
        seen.append(task._cropped(next(batches)).shape[-1])
        running.step += 1
    batches.close()
    assert seen == [16] * 6 + [32] * 6


def test_a_frozen_backbone_sees_its_crops_anew_only_where_that_was_asked_for(
    tmp_path: Path,
) -> None:
    info = DataTable()
    assert info.crop_on == "auto"
    frozen = changed(recipe(packed(tmp_path / "p")), optim={"freeze": "all"})
    kept = changed(frozen, data={"crop_on": "auto"})
    for recipe_, reads_vectors in ((frozen, False), (kept, True)):
        task = Job(recipe_, CPU, open_recipe_data(recipe_)).task
        assert isinstance(task, CachedFeatures) and (task.head_width > 0) == reads_vectors


def test_a_source_of_ones_own_is_cut_as_squares() -> None:
    splits: dict[str, Any] = {"train": SyntheticSource(32), "val": SyntheticSource(8, split="val")}
    info = splits["train"].info
    bundle = Bundle("synthetic", "source", "classify", info.classes, splits)
    running = Job(recipe("synthetic"), CPU, bundle)
    assert next_batches(running, 1)[0].images.shape == (16, 3, 32, 32)
