"""A sweep over timm's families, against timm's own features."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

import xfer
from xfer.testing import check_backbone

FAMILIES = {
    "resnet10t": 64,
    "test_byobnet": 160,
    "test_convnext": 160,
    "test_efficientnet": 160,
    "test_vit": 160,
    "mobilenetv3_small_050": 64,
    "regnetx_002": 64,
    "densenet121": 64,
    "ghostnet_050": 64,
    "repvgg_a0": 64,
    "efficientnet_lite0": 64,
    "tf_efficientnetv2_b0": 64,
    "swin_tiny_patch4_window7_224": 224,
    "edgenext_xx_small": 64,
    "vit_tiny_patch16_224": 224,
    "dla34": 64,
    "hardcorenas_a": 64,
}


@pytest.mark.parametrize("model", FAMILIES)
def test_maps_equal_timm_features(model: str) -> None:
    side = FAMILIES[model]
    ours = xfer.create_backbone(f"timm:{model}").eval()
    theirs = timm.create_model(model, pretrained=False, features_only=True).eval()
    full = timm.create_model(model, pretrained=False)
    ours.net.load_state_dict(full.state_dict(), strict=False)  # type: ignore[union-attr]
    again = timm.create_model(model, pretrained=False).eval()
    again.load_state_dict(full.state_dict())
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        found = ours(images, want=ours.map_names)
        expected = again.forward_intermediates(images, intermediates_only=True)  # type: ignore
    reductions = theirs.feature_info.reduction()  # type: ignore
    channels = theirs.feature_info.channels()  # type: ignore
    assert len(found) == len(expected)
    for mine, (name, spec), map_ in zip(found.values(), ours.specs.items(), expected, strict=True):
        assert (mine - map_).abs().max() <= 1e-5 * max(1.0, float(map_.abs().max())), name
        assert spec.channels == map_.shape[1]
    last = ours.specs[ours.last]
    assert (last.stride, last.channels) == (reductions[-1], channels[-1])


@pytest.mark.parametrize("model", FAMILIES)
def test_timm_nets_keep_the_contract(model: str) -> None:
    check_backbone(f"timm:{model}", size=FAMILIES[model])


def test_the_classifier_is_timms() -> None:
    ours = xfer.create_backbone("timm:resnet10t", classifier=True).eval()
    theirs = timm.create_model("resnet10t", pretrained=False).eval()
    theirs.load_state_dict(ours.net.state_dict())  # type: ignore[union-attr]
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.logits(images), theirs(images))
    assert ours.classifier is not None


def test_a_file_of_timms_own_fills_a_pruned_net(tmp_path: Path) -> None:
    for model in ("test_vit", "resnet10t", "test_efficientnet"):
        torch.save(timm.create_model(model, pretrained=False).state_dict(), tmp_path / "w.pth")
        net = xfer.create_backbone(f"timm:{model}", weights=str(tmp_path / "w.pth"))
        assert net.weight_report is not None and not net.weight_report.missing
        for name in net.weight_report.skipped:
            assert name.startswith(("fc", "norm", "head", "classifier", "conv_head", "bn2")), name


@pytest.mark.parametrize(
    ("model", "stem", "second"),
    [
        ("test_resnet", "conv1", "layer1"),
        ("densenet121", "features", "features.denseblock1"),
        ("efficientnet_lite0", "conv_stem", "blocks.0"),
        (
            "ghostnet_050",
            "conv_stem",
            "blocks.0",
        ),  # its norm comes after the map that ends the stem
        ("test_convnext", "stem", "stages.0"),
        ("test_vit", "patch_embed", "blocks.0"),
    ],
)
def test_the_first_stage_is_the_stem_with_its_norms_and_positions(
    model: str, stem: str, second: str
) -> None:
    net = xfer.create_backbone(f"timm:{model}")
    stages = dict(net.stages())
    assert list(stages)[:2] == [stem, second]
    rest = {id(p) for name, module in net.stages()[1:] for p in module.parameters()}
    first = {id(p) for p in stages[stem].parameters()}
    assert first and not first & rest
    assert {id(p) for p in net.parameters()} == first | rest
