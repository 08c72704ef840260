"""The default recipes run on nets of every family: one batch of training, one of evaluation."""

from __future__ import annotations

from typing import Any

import pytest

from xfer.cli.app import main

TASKS = ("classify", "detect", "segment", "instance")
# a vision transformer, a residual net, one that sees a single size of picture
QUICK = ("timm:test_vit", "timm:test_resnet", "timm:levit_128s")
FAMILIES = (
    "alexnet_bn", "resnet18", "googlenet", "torchvision:swin_t", "torchvision:maxvit_t",
    "torchvision:mobilenet_v3_small", "torchvision:squeezenet1_1", "timm:test_maxvit",
    "timm:test_coatnet", "timm:test_convnext", "timm:test_byobnet", "timm:test_vit_relpos",
    "timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224", "timm:mixer_s16_224",
    "timm:xcit_nano_12_p16_224", "timm:pvt_v2_b0", "timm:mobilevit_xxs", "timm:ghostnet_050",
)  # fmt: skip


def run(task: str, net: str, capsys: Any, recipe: str = "default") -> None:
    given = f"finetune --task {task} --data digits --recipe {task}/{recipe} --backbone {net}"
    code = main([*given.split(), "--weights", "none", "--dry-run", "--limit", "4", "--batch", "2"])
    out = capsys.readouterr()
    assert not code, out.out + out.err
    fixed = net == "timm:levit_128s" and (task != "classify" or recipe == "digits")
    assert ("takes only squares of 224 px" in out.out + out.err) == fixed


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("net", QUICK)
def test_a_default_recipe_runs_on(net: str, task: str, capsys: Any) -> None:
    run(task, net, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("net", FAMILIES)
def test_a_default_recipe_runs_on_every_family(net: str, task: str, capsys: Any) -> None:
    # what a net asks of a recipe does not depend on the size; QUICK has that of the recipes
    code = main(
        f"finetune --task {task} --data digits --recipe {task}/default --backbone {net} "
        "--weights none --dry-run --limit 4 --batch 2 data.size=128".split()
    )
    assert not code, capsys.readouterr()


@pytest.mark.parametrize(
    ("net", "head"), [("timm:test_vit", "panoptic"), ("timm:levit_128s", "detect fcos")]
)
def test_other_heads_run_on_a_transformer_and_on_a_net_of_one_size(
    net: str, head: str, capsys: Any
) -> None:
    task, *detector = head.split()
    code = main([
        *f"finetune --task {task} --data digits --recipe {task}/default --backbone {net}".split(),
        *["--weights", "none", "--dry-run", "--limit", "4", "--batch", "2", "data.size=96"],
        *(f"task.detector={name}" for name in detector),
    ])  # fmt: skip
    assert not code, capsys.readouterr()


@pytest.mark.parametrize("task", ["detect", "segment", "panoptic"])
def test_the_recipe_of_digits_runs_on_other_nets(task: str, capsys: Any) -> None:
    run(task, "timm:test_resnet", capsys, "digits")
