"""Every backbone keeps the contract; torchvision's and timm's give their own numbers."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

import xfer
from xfer.backbones.base import Backbone, SequentialBackbone
from xfer.backbones.build import describe, names
from xfer.backbones.table import layer_table
from xfer.data.open import open_data
from xfer.errors import XferError
from xfer.recipe.tables import override
from xfer.recipe.toml import load_recipe
from xfer.testing import check_backbone
from xfer.train.job import build_task
from xfer.types import FeatureSpec, Preprocess

HEAVY = ("resnet50", "resnet101", "resnet152")
HEAVY += tuple(name for name in names() if name.startswith("vgg1"))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in names()]
)
def test_every_registered_backbone_keeps_the_contract(name: str) -> None:
    check_backbone(name, size=128 if name in HEAVY else None)


@pytest.mark.parametrize(
    "name, options, conv5, pool5",
    [
        ("alexnet_2012", {}, (16, 163, 17.0), (32, 195, 33.0)),
        ("caffenet", {}, (16, 163, 17.0), (32, 195, 33.0)),
        ("alexnet", {}, (16, 163, 15.0), (32, 195, 31.0)),
        ("caffenet", {"conv1_padding": 100}, (16, 163, -83.0), (32, 195, -67.0)),
        ("caffenet", {"conv1_padding": 5, "pool_padding": 1}, (16, 163, 0.0), (32, 195, 0.0)),
    ],
)
def test_geometry_follows_the_paddings(
    name: str, options: dict[str, Any], conv5: tuple[float, ...], pool5: tuple[float, ...]
) -> None:
    specs = xfer.create_backbone(name, **options).specs
    for layer, numbers in (("conv5", conv5), ("pool5", pool5)):
        s = specs[layer]
        assert (s.stride, s.receptive_field, s.offset) == numbers
        assert s == FeatureSpec(layer, 256, s.stride, s.receptive_field, s.offset)


@pytest.mark.parametrize("options", [{"conv1_padding": 5, "pool_padding": 1}, {"lrn": "paper"}])
def test_the_contract_holds_with_options(options: dict[str, object]) -> None:
    check_backbone("alexnet_2012", size=227, **options)


def test_zfnet_of_both_detectors() -> None:
    for padding, side in (("spp", 13), ("faster_rcnn", 15)):
        net = xfer.create_backbone("zfnet", padding=padding).eval()
        with torch.no_grad():
            assert net(torch.zeros(1, 3, 224, 224))["conv5"].shape == (1, 256, side, side)


def _theirs(name: str, file: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, weights=None, **_options(name)).eval()
    for module in net.modules():  # statistics that are not the identity
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.8, 1.2)  # type: ignore[union-attr]
    torch.save(net.state_dict(), file)
    return net


def _options(name: str) -> dict[str, bool]:
    inception = name in ("googlenet", "inception_v3")
    return {"aux_logits": False, "init_weights": False} if inception else {}


SHARED = ("resnet18", "googlenet", "vgg11_bn", "alexnet")
OTHERS = (
    "swin_t",
    "convnext_tiny",
    "densenet121",
    "squeezenet1_1",
    "shufflenet_v2_x0_5",
    "maxvit_t",
)
OTHERS += ("regnet_y_400mf", "mobilenet_v3_small", "efficientnet_b0", "mnasnet0_5", "inception_v3")


@pytest.mark.parametrize("name", [*SHARED, *(f"torchvision:{n}" for n in OTHERS)])
def test_logits_equal_torchvision(name: str, tmp_path: Path) -> None:
    bare = name.rpartition(":")[2]
    theirs = _theirs(bare, tmp_path / "w.pth")
    ours = xfer.create_backbone(name, weights=str(tmp_path / "w.pth"), classifier=True).eval()
    report = ours.weight_report
    assert report is not None and not report.missing and not report.skipped
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        a, b = ours.logits(images), theirs(images)
    assert (a - b).abs().max() <= 1e-5 * max(1.0, float(b.abs().max()))


def test_maps_equal_torchvision(tmp_path: Path) -> None:
    from torchvision.models.feature_extraction import create_feature_extractor

    for name, nodes in (
        ("resnet18", {"relu": "conv1", "layer1": "layer1", "layer4": "layer4"}),
        ("googlenet", {"conv3": "conv3", "inception4c": "inception4c"}),
        ("vgg11_bn", {"features.2": "conv1_1", "features.28": "pool5"}),
        ("alexnet", {"features.4": "conv2", "features.12": "pool5", "classifier.2": "fc6"}),
    ):
        theirs = _theirs(name, tmp_path / "w.pth")
        ours = xfer.create_backbone(name, weights=str(tmp_path / "w.pth")).eval()
        extract = create_feature_extractor(theirs, nodes)
        images = torch.randn(1, 3, 224, 224)
        with torch.no_grad():
            a, b = ours(images, want=list(nodes.values())), extract(images)
        for layer in nodes.values():
            assert (a[layer] - b[layer]).abs().max() <= 1e-5 * max(1.0, float(b[layer].abs().max()))


def test_layer_table_adds_up() -> None:
    net = xfer.create_backbone("alexnet_2012")
    rows = {row.layer: row for row in layer_table(net)}
    assert tuple(rows) == net.layers
    assert sum(row.parameters for row in rows.values()) == 56_868_224
    assert rows["conv1"].multiply_adds == 55 * 55 * 96 * 11 * 11 * 3
    assert rows["conv2"].multiply_adds == 27 * 27 * 256 * 5 * 5 * 48
    assert rows["norm1"].multiply_adds == rows["pool1"].parameters == 0
    assert rows["fc6"].multiply_adds == 9216 * 4096 and rows["fc6"].stride is None
    assert rows["pool5"].output == (256, 6, 6) and rows["pool5"].stage == "conv5"
    larger = {row.layer: row for row in layer_table(net, 500)}
    assert larger["conv1"].output == (96, 123, 123)
    assert larger["conv5"].receptive_field == 163


def test_the_net_is_left_as_it_was() -> None:
    net = xfer.create_backbone("alexnet_bn").train()
    net.stages()[1][1].eval()
    before = {k: v.clone() for k, v in net.state_dict().items() if k.startswith("trunk")}
    modes = [m.training for m in net.modules()]
    assert net.specs and layer_table(net)
    assert modes == [m.training for m in net.modules()]
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())


def test_parameter_counts() -> None:
    for name, count in (
        ("alexnet", 61_100_840),
        ("alexnet_2012", 60_965_224),
        ("vgg16", 138_357_544),
    ):
        assert describe(name).parameters == count
    assert sum(p.numel() for p in xfer.create_backbone("alexnet_2012").parameters()) == 56_868_224
    assert describe("torchvision:resnet50").parameters == 25_557_032


def test_names_by_pattern() -> None:
    assert {"alexnet", "alexnet_2012", "caffenet", "vgg16_bn", "resnet152"} <= set(names())
    assert names("vgg1*_bn") == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert "timm:resnet18" in names("timm:resnet*")
    assert "torchvision:swin_t" in names("torchvision:*")


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("alexnett", {}, "alexnet"),
        ("timm:resnet81", {}, "resnet"),
        ("torchvision:resnet81", {}, "resnet18"),
        ("torchvision:vit_b_16", {}, "timm:vit"),
        ("no.such:function", {}, "package.module:function"),
        ("alexnet", {"lrn": "paper"}, "option"),
        ("alexnet_2012", {"ln": "paper"}, "lrn"),
        ("alexnet_2012", {"lrn": "caffe"}, "paper"),
        ("alexnet_2012", {"init": "papr"}, "paper"),
        ("resnet18", {"conv1_padding": 3}, "no options"),
        ("timm:resnet18", {"no_such_option": 3}, "no_such_option"),
        ("torchvision:resnet18", {"no_such_option": 3}, "no_such_option"),
    ],
)
def test_mistakes_name_what_is_right(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(XferError) as caught:
        xfer.create_backbone(name, **options)
    assert words in str(caught.value) and caught.value.code == 2


def test_wants_and_missing_classifiers_are_explained() -> None:
    net = xfer.create_backbone("resnet18")
    with pytest.raises(XferError, match="layer4"):
        net(torch.zeros(1, 3, 64, 64), want="layer5")
    with pytest.raises(XferError, match="classifier=True"):
        net.logits(torch.zeros(1, 3, 64, 64))
    assert tuple(net(torch.zeros(1, 3, 64, 64))) == ("layer4",)


def test_a_backbone_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(width: int = 4) -> Backbone:
        trunk = torch.nn.Sequential(torch.nn.Conv2d(3, width, 3, 2, 1), torch.nn.ReLU())
        trunk.append(torch.nn.Conv2d(width, 8, 3, 2, 1))
        return SequentialBackbone("tiny", Preprocess(size=32), trunk, {"a": 1, "b": 2})

    def wrong() -> int:
        return 3

    tiny.__module__ = wrong.__module__ = "their_nets"
    module = types.ModuleType("their_nets")
    module.__dict__.update(tiny=tiny, wrong=wrong, run=subprocess.run)
    monkeypatch.setitem(sys.modules, "their_nets", module)
    net = xfer.create_backbone("their_nets:tiny", width=5)
    assert net.specs["b"] == FeatureSpec("b", 8, 4, 7, 0.0)
    check_backbone(net)
    with pytest.raises(XferError, match="width"):
        xfer.create_backbone("their_nets:tiny", widht=5)
    with pytest.raises(XferError, match="not an xfer Backbone"):
        xfer.create_backbone("their_nets:wrong")
    with pytest.raises(XferError, match="run belongs to subprocess, not to their_nets"):
        xfer.create_backbone("their_nets:run", args=["touch", "/nowhere"])


@pytest.mark.parametrize("values", [{"data.size": 32}, {"task.sides": [128, 32]}])
def test_pictures_too_small_for_the_net_are_told_before_training(values: dict[str, Any]) -> None:
    recipe = override(load_recipe("classify/digits"), values)
    with pytest.raises(XferError, match="pictures of 32 px don't reach pool5") as caught:
        build_task(recipe, open_data("digits", limit=4, check=False))
    assert caught.value.hint == "the net's own size is 227 px"


def test_layers_that_small_pictures_still_reach_are_given() -> None:
    net = xfer.create_backbone("alexnet")
    net.check_side(16, "conv1")
    with pytest.raises(XferError, match="pictures of 16 px don't reach fc7"):
        net.check_side(16, "fc7")
    with pytest.raises(XferError, match="don't reach pool5"):
        xfer.features("digits", backbone="alexnet", layer="pool5", weights="none", size=16)


def test_check_backbone_finds_a_wrong_spec() -> None:
    net = xfer.create_backbone("resnet18")
    spec = net.specs["layer1"]
    net.specs["layer1"] = FeatureSpec(
        "layer1", 64, spec.stride, spec.receptive_field + 2, spec.offset
    )
    with pytest.raises(AssertionError, match="layer1"):
        check_backbone(net, size=96)


def test_tail_pools_maps_of_other_sizes_and_drops_only_in_training() -> None:
    net = xfer.create_backbone("alexnet").eval()
    assert net.tail is not None and net.tail.in_size == (256, 6, 6)
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 300, 280), want="fc7")["fc7"].shape == (1, 4096)
        rois = torch.rand(2, 256, 6, 6)
        assert torch.equal(net.tail(rois), net.tail(rois))
        net.train()
        assert not torch.equal(net.tail(rois), net.tail(rois))
        conv = net.tail.as_conv()
        assert conv.training and conv.eval()(torch.rand(1, 256, 8, 7)).shape == (1, 4096, 3, 2)
