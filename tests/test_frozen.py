"""A head on a frozen backbone: each view is seen once, and it trains as from pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from xfer.device import Place
from xfer.extraction.cache import FeatureCache, cache_file
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import DataTable, EvalTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.runs import checkpoint
from xfer.runs.folder import Run
from xfer.train.cached_features import keep_features
from xfer.train.job import Job
from xfer.train.loop import fit
from xfer.train.signals import Interrupted

FROZEN = Recipe(
    name="test",
    backbone="tiny_nets:tiny",
    weights="none",
    task_options={"head": "flat", "dropout": 0.5},
    data=DataTable(source="digits", batch=32, augment="light", limit=160, workers=1),
    optim=OptimTable(lr=1e-2, head_scale=1.0, ema=0.5, freeze="all"),
    schedule=ScheduleTable(epochs=3),
    eval=EvalTable(tta="flip"),
    run=RunTable(precision="fp32", plots=False, report=False, device="cpu"),
)


def changed(**tables: dict[str, Any]) -> Recipe:
    return replace(FROZEN, **{k: replace(getattr(FROZEN, k), **v) for k, v in tables.items()})


def losses(run: Path) -> list[float]:
    return [e["loss"] for e in Run(run).events() if e["event"] == "train"]


def prepared(recipe: Recipe = FROZEN) -> tuple[Job, list[str]]:
    job, said = Job(recipe, Place(torch.device("cpu"), "fp32"), open_recipe_data(recipe)), []
    keep_features(job, said.append)
    return job, said


def test_training_on_kept_features_is_the_training_from_pictures(tmp_path: Path) -> None:
    fit(FROZEN, tmp_path / "kept", verbosity=-1)
    fit(changed(data={"cache_mb": 0}), tmp_path / "pictures", verbosity=-1)
    kept, pictures = losses(tmp_path / "kept"), losses(tmp_path / "pictures")
    assert len(kept) == 15
    assert kept == pytest.approx(pictures, rel=1e-4)
    one, two = (
        json.loads((tmp_path / name / "result.json").read_text())["metrics"]
        for name in ("kept", "pictures")
    )
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
    assert one["top1"] == pytest.approx(two["top1"], abs=0.02)


def test_the_trunk_stays_as_it_was(tmp_path: Path) -> None:
    job, _ = prepared()
    before = {k: v.clone() for k, v in job.task.backbone.state_dict().items()}
    fit(FROZEN, tmp_path / "run", verbosity=-1)
    after = checkpoint.load_weights(tmp_path / "run" / "best.safetensors")
    assert all(torch.equal(after[f"backbone.{k}"], v) for k, v in before.items())
    assert float(after["head.2.weight"].abs().max()) > 0


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))


def test_a_second_run_computes_nothing() -> None:
    _, first = prepared()
    _, second = prepared()
    assert "3 views of each of 160 pictures" in first[0]
    assert "(480 computed, 0 from the cache)" in first[0]
    assert "(0 computed, 480 from the cache)" in second[0]
    # nor one that reads the same pictures in another manner
    _, third = prepared(changed(data={"batch": 20, "cache_mb": 99, "balance": True}))
    assert "(0 computed, 480 from the cache)" in third[0]


def test_vectors_of_val_are_those_of_any_seed(tmp_path: Path) -> None:
    net = Job(FROZEN, Place(torch.device("cpu")), open_recipe_data(FROZEN)).task.backbone
    file = tmp_path / "net.safetensors"
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, file)
    whole = replace(changed(data={"limit": 0}, schedule={"epochs": 1}), weights=str(file))
    job, _ = prepared(whole)
    train, val = (len(job.bundle.splits[name]) for name in ("train", "val"))
    prepared(replace(whole, run=replace(whole.run, seed=1)))
    cache = FeatureCache(cache_file(), 2**30)
    assert cache.state().entries == 2 * train + val
    cache.close()


def test_another_seed_or_crop_is_another_view() -> None:
    prepared()
    _, seed = prepared(changed(run={"seed": 1}, data={"limit": 0}, schedule={"epochs": 1}))
    assert ", 0 from the cache)" in seed[0]
    _, crop = prepared(changed(data={"crop_area": (0.9, 1.0)}))
    assert ", 0 from the cache)" in crop[0]
    window = replace(FROZEN, task_options={**FROZEN.task_options, "crop": "window"})
    assert ", 0 from the cache)" in prepared(window)[1][0]


def test_another_map_or_head_or_option_is_another_vector() -> None:
    short = changed(data={"limit": 40}, schedule={"epochs": 1})
    seen = [
        replace(short, task_options={"head": "avg", "layer": "conv1"}),
        replace(short, task_options={"head": "avg"}),
        replace(short, task_options={"head": "flat"}),
        replace(short, backbone_options={"leak": 0.0}),
        replace(short, backbone_options={"leak": 0.5}),
    ]
    for recipe in seen:
        assert ", 0 from the cache)" in prepared(recipe)[1][0]
    for recipe in seen:
        assert "(0 computed," in prepared(recipe)[1][0]
    # what only the head has is no reason to see the pictures again
    other = replace(seen[1], task_options={"head": "avg", "dropout": 0.1, "label_smoothing": 0.0})
    assert "(0 computed," in prepared(other)[1][0]


def test_every_picture_is_seen_once_an_epoch_and_views_take_turns() -> None:
    job, _ = prepared(changed(schedule={"epochs": 12}))
    assert len(job.train.rows) == 8  # pyright: ignore[reportAttributeAccessIssue]
    ids = [i for batch in job.train.batches(0) for i in batch.ids]
    assert sorted(ids) == sorted(job.bundle.splits["train"].ids)
    first, later, other = (
        {
            i: row
            for batch in job.train.batches(epoch)
            for i, row in zip(batch.ids, batch.targets["features"], strict=True)
        }
        for epoch in (0, 8, 1)
    )
    assert all(torch.equal(first[i], later[i]) for i in ids)
    assert not all(torch.equal(first[i], other[i]) for i in ids)


def test_features_that_do_not_fit_are_computed_each_epoch() -> None:
    # 160 pictures x 1,024 numbers x 4 bytes are 0.6 MB: the smallest bound holds one view, and
    # no two of each of the 160 in val beside it
    job, said = prepared(changed(data={"cache_mb": 1}))
    assert "1 view of each" in said[0] and job.quick_val is None
    job, said = prepared(changed(data={"cache_mb": 3}))
    assert "2 views" in said[0] and job.quick_val is not None
    job, said = prepared(changed(data={"cache_mb": 1, "limit": 0}))
    assert "don't fit" in said[0]
    assert len(next(iter(job.train.batches(0))).images.shape) == 4


def test_mixup_needs_pictures() -> None:
    _, said = prepared(replace(FROZEN, task_options={"head": "flat", "mixup": 0.2}))
    assert said == []


def test_a_killed_run_goes_on_to_equal_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(FROZEN, tmp_path / "whole", verbosity=-1)
    real = Job.begin_step

    def begin(job: Job) -> float:
        if job.step == 7:
            raise Interrupted(tmp_path)
        return real(job)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "begin_step", begin)
        with pytest.raises(Interrupted):
            fit(FROZEN, tmp_path / "killed", verbosity=-1)
    fit(resume=tmp_path / "killed", verbosity=-1)
    one, two = (
        checkpoint.load_weights(tmp_path / name / "best.safetensors")
        for name in ("whole", "killed")
    )
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")
