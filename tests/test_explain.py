"""Heat maps: Grad-CAM by hand, where the object is, with random weights, and the files drawn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_nets import tailed, tiny
from torch import nn

from xfer import create_backbone
from xfer.backbones.base import SequentialBackbone
from xfer.cli.app import main
from xfer.data.transforms.crops import EvalTransform
from xfer.errors import XferError
from xfer.explain import explain, grad_cam, occlusion
from xfer.inference.model import Model, Predictions
from xfer.recipe.tables import DataTable, Recipe
from xfer.task import get, make_options
from xfer.types import BoxPrediction, DataInfo, Preprocess

CLASSES = ("red", "green")


def built(name: str, backbone: Any, side: int = 32, **options: Any) -> Any:
    kind = get(name)
    task = kind(backbone, DataInfo("", name, CLASSES), make_options(kind, options),
                DataTable(size=side))  # fmt: skip
    return task.eval()


def by_hand() -> Any:
    """A net of two layers whose channels are the colours, without normalisation of its vectors."""
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 2, 2, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.eye(3)[..., None, None])
        nn.init.zeros_(first.bias)  # pyright: ignore[reportArgumentType]
        second.weight.copy_(torch.eye(3)[..., None, None].expand(3, 3, 2, 2) / 4)
    net = SequentialBackbone(
        "hand", Preprocess((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), size=8, resize=8),
        nn.Sequential(first, nn.ReLU(), second), {"one": 1, "two": 2},
    )  # fmt: skip
    task = built("classify", net, 8, norm=False, head="avg")
    with torch.no_grad():
        task.head[-1].weight.copy_(torch.tensor([[1.0, -0.5, 0.0], [-1.0, 2.0, 0.0]]))
    return task


def two_colours() -> np.ndarray:
    """Red on the left, green on the right: uint8 (8, 8, 3)."""
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :4, 0], picture[2:6, 4:, 1] = 200, 100
    return picture


def test_grad_cam_is_its_formula() -> None:
    task, picture = by_hand(), two_colours()
    for label, weights in enumerate(([1.0, -0.5, 0.0], [-1.0, 2.0, 0.0])):
        # the map is the mean colour of 2 x 2 pixels; the score its mean over 16 cells times the
        # weights, so that alpha_k = weight_k / 16 (Selvaraju 2017, eq. 1), and eq. 2 a ReLU
        cells = (picture / 255).reshape(4, 2, 4, 2, 3).mean((1, 3))
        cam = np.maximum((cells * weights).sum(-1), 0)
        heat = grad_cam(task, picture, CLASSES[label])
        assert heat.shape == (8, 8) and heat.dtype == np.float32
        # pixels next to a cell's centre are between cells: the corners show their cell alone
        corners = heat[::7, ::7]
        assert corners == pytest.approx(cam[::3, ::3] / cam.max(), abs=1e-5)
        assert heat.max() == pytest.approx(1, abs=0.3) and heat.min() >= 0


def test_maps_are_where_the_colour_is() -> None:
    task, picture = by_hand(), two_colours()
    red, green = (explain(task, picture, c, check=True) for c in CLASSES)
    assert red.heat[:, :3].mean() > 0.9 > 0.01 > red.heat[:, 6:].mean()
    assert green.heat[:, 6:].mean() > 0.3 > 0.01 > green.heat[:, :3].mean()
    for found in (red, green):
        assert found.agreement is not None and found.agreement > 0.5
    hidden = occlusion(task, picture, "red")
    assert hidden[:, :3].mean() > 5 * hidden[:, 6:].mean()
    # without a label: what is predicted, and no gradients are left behind
    assert explain(task, picture).label == "red"
    assert all(p.grad is None for p in task.parameters()) and not task.training


@pytest.mark.parametrize("make", [tiny, tailed])
def test_random_weights_change_the_map(make: Any) -> None:
    """The sanity check of Adebayo et al. 2018, sec. 3.1: a map that stays shows edges, not the
    net."""
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    maps: list[np.ndarray] = []
    for seed in range(3):
        torch.manual_seed(seed)
        task = built("classify", make())
        nn.init.normal_(task.head[-1].weight)
        maps.append(grad_cam(task, picture, 0))
        task.freeze([stage.module for stage in task.stages()[:-1]])
        assert grad_cam(task, picture, 0) == pytest.approx(maps[-1])  # frozen parts as well
    near = [np.corrcoef(maps[0].ravel(), other.ravel())[0, 1] for other in maps[1:]]
    assert max(near) < 0.8


def test_the_map_has_the_pictures_own_pixels() -> None:
    torch.manual_seed(0)
    net = tiny()
    net.preprocess = Preprocess(size=32, resize=40)
    task = built("classify", net)
    nn.init.normal_(task.head[-1].weight)
    picture = np.random.default_rng(0).integers(0, 255, (100, 200, 3)).astype(np.uint8)
    for method in ("grad_cam", "occlusion"):
        heat = explain(task, picture, "red", method).heat
        assert heat.shape == (100, 200)
        # 32 of 40 rows and 32 of 80 columns are shown, in the middle
        assert heat[:9].max() == heat[91:].max() == heat[:, :58].max() == heat[:, 142:].max() == 0
        assert heat[11:89, 62:138].max() == pytest.approx(1)
    coded = np.zeros((100, 200, 3), np.uint8)
    coded[..., 0], coded[..., 1] = np.arange(200)[None], np.arange(100)[:, None]
    left, top, right, bottom = EvalTransform(32, 40).part_of(100, 200)
    shown = EvalTransform(32, 40)(coded).astype(float)
    assert shown[0, 0, :2] == pytest.approx([left * 200, top * 100], abs=2)
    assert shown[-1, -1, :2] == pytest.approx([right * 200 - 1, bottom * 100 - 1], abs=2)


def test_a_transformer_s_tokens_are_a_map() -> None:
    net = create_backbone("timm:vit_tiny_patch16_224", weights="none", img_size=64, depth=2)
    task = built("classify", net, 64)
    nn.init.normal_(task.head[-1].weight)
    picture = np.random.default_rng(0).integers(0, 255, (90, 64, 3)).astype(np.uint8)
    heat = grad_cam(task, picture, 1)
    assert heat.shape == (90, 64) and heat.max() == pytest.approx(1) and np.isfinite(heat).all()


def test_a_class_in_a_segmentation_and_a_box() -> None:
    torch.manual_seed(0)
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    segment = built("segment", tiny(), head="fcn32s", tail="none", levels=("conv2",))
    for parameter in segment.head.parameters():
        nn.init.normal_(parameter)
    found = explain(segment, picture, check=True)
    assert found.heat.shape == (48, 64) and found.target.region is not None
    own = segment.info.classes.index(found.label)
    assert explain(segment, picture, own).target.label == own
    panoptic = built("panoptic", tiny(), width=16, least_thing=0.0)
    found = explain(panoptic, picture)
    assert found.heat.shape == (48, 64) and found.label in panoptic.info.classes
    detect = built("detect", tiny(), 48, levels=("conv2",), least_score=0.0)
    nn.init.normal_(next(iter(detect.head.outputs.parameters())))
    box = explain(detect, picture)
    assert box.target.box is not None and box.heat.shape == (48, 64)
    left, top, right, bottom = box.target.box
    rows, columns = slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)
    inside = box.heat[rows, columns].sum() / box.heat.sum()
    area = (right - left) * (bottom - top) / box.heat.size
    assert inside >= min(0.9, 0.9 * area)
    nothing = BoxPrediction("a", np.zeros((0, 4), np.float32), np.zeros(0, np.float32),
                            np.zeros(0, np.int64), (48, 64))  # fmt: skip
    with pytest.raises(XferError, match="nothing is found"):
        detect.target_of(nothing, None)


def test_what_can_t_be_explained_is_said(tmp_path: Path) -> None:
    task: Any = by_hand()
    picture = two_colours()
    with pytest.raises(XferError, match="no class 'rad'") as error:
        explain(task, picture, "rad")
    assert "red" in str(error.value.hint)
    with pytest.raises(XferError, match="unknown method 'lime'"):
        explain(task, picture, method="lime")
    with pytest.raises(XferError, match="can't be explained"):
        explain(nn.Identity(), picture)
    place: Any = None
    model = Model(task, place)
    found = model.explain(picture, "green", "occlusion")
    with Image.open(found.draw(tmp_path / "a.png")) as drawn:
        assert drawn.width == 360
    assert isinstance(Predictions(task, (), ()).explain(tmp_path / "none")[0], list)


def test_the_command_draws_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from xfer.device import Place

    task = by_hand()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(two_colours()).save(tmp_path / folder / "one.png")
    monkeypatch.setattr(
        "xfer.inference.to_files.load", lambda run, place: Model(task, Place(torch.device("cpu")))
    )
    monkeypatch.setattr(
        "xfer.inference.to_files.Run.open", lambda path: SimpleNamespace(path=path, recipe=Recipe)
    )
    out = tmp_path / "out"
    words = ["predict", "r", str(tmp_path / "a"), str(tmp_path / "b"), "--explain", str(out)]
    assert main(words) == 0
    assert "2 explanations drawn" in capsys.readouterr().err
    assert sorted(p.name for p in out.iterdir()) == ["one-2_grad_cam.png", "one_grad_cam.png"]
