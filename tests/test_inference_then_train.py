"""A net that has run in inference mode can still train: nothing that it keeps of a pass, such as
the band of a response normalisation, is a tensor that autograd can't save."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_detect_run import TINY as DETECT
from test_every_net import FAMILIES
from test_loop import CPU, TINY, Stopped, changed, die, equal, train
from test_segment_run import TINY as SEGMENT

from xfer.backbones.base import backbones
from xfer.backbones.build import make_backbone
from xfer.recipe.data import open_recipe_data
from xfer.runs import checkpoint
from xfer.train.job import Job
from xfer.train.loop import fit
from xfer.train.step import train_step

# of the families that every task is tested with, those that are built in a second
QUICK = [name for name in FAMILIES if ":" in name and "maxvit_t" not in name]
# the deeper ones have the layers of these
OURS = [
    name for name in backbones.names()
    if not name.startswith(("vgg11", "vgg13", "vgg16", "vgg19", "resnet")) or name == "resnet18"
]  # fmt: skip
HEADS: dict[str, Any] = {
    "classify": TINY,
    "classify-mixed": replace(
        TINY, task_options={"head": "avg", "mixup": 0.2, "lighting": 0.1, "class_weights": True}
    ),
    "detect": DETECT,
    "detect-grid": replace(
        DETECT,
        task_options={
            "proposals": "grid",
            "pool": "max",
            "levels": ("conv1", "conv2"),
            "width": 8,
            "most_proposals": 60,
            "head_width": 16,
            "pool_size": 3,
        },
    ),
    "segment": SEGMENT,
    "segment-fcn": replace(
        SEGMENT, task_options={"head": "fcn16s", "tail": "fresh", "dice": 0.5, "hard_pixels": 0.5}
    ),
}


def run_then_train(net: Any) -> None:
    side = net.preprocess.size if net.fixed_side else max(64, min(net.preprocess.size, 128))
    images = torch.rand(2, 3, side, side)
    wanted = (net.last,)
    net.train()
    with torch.inference_mode():
        net(images, want=wanted)
    net.eval()
    with torch.inference_mode():
        net(images, want=wanted)
    net.train()
    net(net.normalise((images * 255).byte()), want=wanted)[net.last].sum().backward()
    assert any(p.grad is not None for p in net.parameters())
    kept = [
        f"{type(module).__name__}.{key}"
        for module in net.modules()
        for key, value in vars(module).items()
        for tensor in (value.values() if isinstance(value, dict) else [value])
        if isinstance(tensor, torch.Tensor) and tensor.is_inference()
    ]
    assert not kept


@pytest.mark.parametrize("name", [*OURS, *QUICK])
def test_a_net_trains_after_inference(name: str) -> None:
    run_then_train(make_backbone(name, weights="none"))


@pytest.mark.parametrize("name", HEADS)
def test_a_task_trains_after_inference(name: str) -> None:
    recipe = HEADS[name]
    job = Job(recipe, CPU, open_recipe_data(recipe))
    small = next(iter(job.val_loader().batches(0)))
    batch = next(job.train.batches(0))
    with torch.inference_mode():
        job.final_task().eval().predict(small, recipe.eval.tta)
        job.task(batch)
    job.task.train()
    job.begin_step()
    losses = train_step(job, batch)
    assert all(torch.isfinite(v) for v in losses.values())


def test_a_run_saved_before_its_epoch_s_evaluation_resumes_to_equal_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On resuming, the net's first pass is an evaluation."""
    recipe = replace(
        changed(TINY, data={"limit": 16, "batch": 4, "size": 67}, schedule={"epochs": 2},
                optim={"ema": 0.0}),
        backbone="alexnet_2012", task_options={"head": "avg", "layer": "pool2"},
    )  # fmt: skip
    train(tmp_path / "whole", recipe)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("xfer.train.throughput.Clock.save_due", lambda _, job: job.step == 4)
        patch.setattr("xfer.train.loop.evaluate_now", lambda *_: die())
        train(tmp_path / "stopped", recipe)
    state = checkpoint.load_state(tmp_path / "stopped" / "last" / "state.pt")
    assert (state["step"], state["evaluated"]) == (4, 0)
    fit(resume=tmp_path / "stopped", verbosity=-1)
    assert equal(tmp_path / "whole", tmp_path / "stopped")
