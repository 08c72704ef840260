"""Mask R-CNN: its goals, its masks as pixels, and a run of it on data and nets of any kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from PIL import Image
from torchvision.ops import roi_align

from xfer.backbones.build import create_backbone
from xfer.data.open import open_data
from xfer.data.sources.base import subset
from xfer.data.transforms.objects import GRID, object_grids
from xfer.detectors.mask_branch import SIDE, mask_goals
from xfer.drawing.mosaic import SIDE as SIDE_OF_TILE
from xfer.drawing.mosaic import Tile, mosaic
from xfer.drawing.outlines import outline
from xfer.errors import XferError
from xfer.metrics.example import Mark
from xfer.objects.paste import encode_at, paste
from xfer.objects.rle import encode, ious
from xfer.recipe.tables import DataTable
from xfer.task import get
from xfer.testing import check_task

ONES = st.integers(0, 1)
SMALL: dict[str, Any] = {
    "levels": ("stride16",), "head": "fc", "head_width": 16, "rpn_width": 16,
    "mask_width": 8, "mask_convs": 1, "rpn_train": (60, 20), "rpn_test": (60, 20), "most_boxes": 5,
    "regions": 16,
}  # fmt: skip


def blob(
    seed: int, height: int = 60, width: int = 80
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """An L in a picture, and the box around it."""
    rng = np.random.default_rng(seed)
    x1, y1 = rng.integers(0, width // 2), rng.integers(0, height // 2)
    x2, y2 = rng.integers(x1 + 8, width), rng.integers(y1 + 8, height)
    pixels = np.zeros((height, width), np.uint8)
    pixels[y1:y2, x1 : (x1 + x2) // 2] = pixels[(y1 + y2) // 2 : y2, x1:x2] = 1
    return pixels, np.array([[x1, y1, x2, y2]], np.float32)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_goals_are_the_mask_read_where_the_region_lies(seed: int) -> None:
    """As torchvision reads them off the whole mask, up to the width of a grid's cell."""
    pixels, box = blob(seed)
    rng = np.random.default_rng(seed)
    region = torch.from_numpy(box + rng.uniform(-6, 6, 4).astype(np.float32))
    region[:, 2:] = torch.maximum(region[:, 2:], region[:, :2] + 4)
    grids = object_grids([encode(pixels)], box)
    goals = mask_goals(torch.from_numpy(grids.shares), torch.from_numpy(grids.places), region)
    whole = torch.from_numpy(pixels)[None, None].float()
    expected = roi_align(whole, [region], SIDE, 1.0, 2, True)[0]
    assert goals.shape == (1, SIDE, SIDE)
    wrong = (goals - expected).abs().mean()
    assert wrong < 0.06


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_a_mask_on_its_box_becomes_the_pixels_that_it_was_made_from(seed: int) -> None:
    pixels, box = blob(seed)
    true = encode(pixels)
    shares = np.asarray(object_grids([true], box).shares / 255, np.float32)
    assert shares.shape[1] == GRID
    (made,) = paste(shares, box, (60, 80))
    assert ious([made], [true], np.array([False]))[0, 0] > 0.9


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_a_crop_is_encoded_in_its_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 12, 2).tolist()
    top, left = int(rng.integers(height)), int(rng.integers(width))
    whole = np.zeros((height, width), bool)
    crop = rng.random((int(rng.integers(height - top + 1)), int(rng.integers(width - left + 1))))
    whole[top : top + crop.shape[0], left : left + crop.shape[1]] = crop < 0.7
    made = encode_at(crop < 0.7, top, left, (height, width))
    assert np.array_equal(made.pixels(), whole) and made == encode(whole)


@settings(deadline=None, max_examples=20)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=ONES))
def test_an_outline_encloses_an_object_s_pixels_and_no_others(pixels: NDArray[np.uint8]) -> None:
    height, width = pixels.shape
    y, x = np.mgrid[:height, :width].reshape(2, -1) + 0.5
    enclosed = np.zeros(height * width, bool)
    for line in outline(encode(pixels), 0.0):
        enclosed ^= Polygon(line).contains_points(np.stack([x, y], 1))
    assert np.array_equal(enclosed.reshape(height, width), pixels > 0)


def test_marked_objects_are_tinted_in_mosaics(tmp_path: Path) -> None:
    pixels, box = blob(0)
    x1, y1, x2, y2 = box[0].tolist()
    mark = Mark((x1, y1, x2, y2), "missed", "dog", encode(pixels))
    drawn: list[NDArray[Any]] = []
    for marks in ((), (mark,)):
        tile = Tile(np.full((60, 80, 3), 200, np.uint8), ("a",), False, marks)
        mosaic([tile], tmp_path / "m.png")
        drawn.append(np.asarray(Image.open(tmp_path / "m.png").convert("RGB")).astype(int))
    scale = SIDE_OF_TILE / 80  # the picture fills the tile's width
    differs = (np.abs(drawn[0] - drawn[1]) > 8).any(2).sum()
    assert differs == pytest.approx(pixels.sum() * scale**2, rel=0.2)


def test_boxes_outside_and_without_pixels_have_empty_masks() -> None:
    boxes = np.array([[-9, -9, -2, -2], [3.1, 3.1, 3.2, 3.2], [-5, -5, 3, 3]], np.float32)
    made = paste(np.ones((3, SIDE, SIDE), np.float32), boxes, (10, 10))
    assert [int(mask.pixels().sum()) for mask in made] == [0, 0, 9]


@pytest.fixture(scope="module")
def scenes() -> Any:
    return subset(open_data("digits", kind="instance", check=False).splits["val"], range(4))


@pytest.mark.parametrize("net", ["alexnet_bn", "resnet18"])
def test_the_task_keeps_the_contract(net: str, scenes: Any) -> None:
    backbone = create_backbone(net, weights="none")
    check_task(get("instance"), scenes, backbone, get("instance").Options(**SMALL))


def made(scenes: Any, **options: Any) -> Any:
    task = get("instance")
    torch.manual_seed(0)
    backbone = create_backbone("alexnet_bn", weights="none")
    own = task.Options(**{**SMALL, **options})
    return task(backbone, scenes.info, own, DataTable(size=96, flip=False))


def batch_of(task: Any, scenes: Any, train: bool) -> Any:
    change, rng = task.transform(train), np.random.default_rng(0)
    return task.collate([change(scenes[i], rng) for i in range(2)])


@pytest.mark.parametrize("agnostic", [False, True])
def test_a_step_lowers_the_mask_loss_and_predictions_are_scored(
    agnostic: bool, scenes: Any
) -> None:
    task = made(scenes, mask_agnostic=agnostic, mask_levels=("stride4", "stride16")).train()
    batch = batch_of(task, scenes, True)
    optimizer = torch.optim.Adam(task.parameters(), 1e-2)
    seen: list[float] = []
    for _ in range(8):
        losses = task(batch)
        assert set(losses) == {"rpn_score", "rpn_box", "cls", "box", "mask"}
        optimizer.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        optimizer.step()
        seen.append(float(losses["mask"].detach()))
    assert seen[-1] < seen[0]
    task.eval()
    metric, shown = task.metric(), batch_of(task, scenes, False)
    for tta in ("none", "flip"):
        predictions = task.predict(shown, tta)
        for one in predictions:
            assert len(one.masks) == len(one.boxes)
            assert {mask.size for mask in one.masks.tolist()} <= {one.size}
    metric.update(predictions, shown)
    assert 0 <= metric.compute()["coco_mask_ap"] <= 1


def test_training_pictures_are_shown_with_the_masks_that_are_learnt(scenes: Any) -> None:
    task = made(scenes)
    batch = batch_of(task, scenes, True)
    panels = task.kind.batch_panels(batch, scenes.info.classes)
    for panel, boxes in zip(panels, batch.targets["boxes"], strict=True):
        assert len(panel.marks) == len(boxes) > 0
        for mark in panel.marks:
            x1, y1, x2, y2 = mark.box_xyxy
            assert mark.mask is not None and mark.mask.size == panel.image.shape[:2]
            inside = mark.mask.pixels()
            rows, columns = np.nonzero(inside)
            assert inside.sum() > 0.05 * (x2 - x1) * (y2 - y1)
            assert rows.min() >= y1 - 2 and columns.max() <= x2 + 2


def test_a_picture_without_objects_has_no_mask_loss_and_no_nan(scenes: Any) -> None:
    task = made(scenes).train()
    batch = batch_of(task, scenes, True)
    for key in ("boxes", "labels", "shares", "places"):
        batch.targets[key] = [one[:0] for one in batch.targets[key]]
    losses = task(batch)
    assert losses["mask"].item() == 0 and all(torch.isfinite(v) for v in losses.values())


def test_masks_of_deeper_maps_than_the_boxes_are_refused(scenes: Any) -> None:
    with pytest.raises(XferError, match="deeper than conv2"):
        made(scenes, levels=("conv2",), mask_levels=("conv5",))


def test_a_run_from_the_command_line_predicts_draws_and_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from xfer.cli import main

    out = tmp_path / "run"
    sets = [f"task.{key}={value!r}" for key, value in SMALL.items() if key != "levels"]
    sets = [text.replace("(", "[").replace(")", "]") for text in sets]
    common = ["--limit", "4", "--batch", "2", "--epochs", "1", "--workers", "0", "-q"]
    assert main(["finetune", "--task", "instance", "--data", "digits", "--out", str(out), *common,
                 'task.levels=["stride16"]', "data.size=96", *sets]) == 0  # fmt: skip
    assert (out / "result.json").is_file()
    picture = tmp_path / "a.png"
    Image.fromarray(np.full((50, 70, 3), 90, np.uint8)).save(picture)
    drawn = tmp_path / "drawn"
    assert main(["predict", str(out), str(picture), "--draw", str(drawn), "--format", "coco"]) == 0
    assert (drawn / "a.png").is_file() and '"segmentation"' in capsys.readouterr().out
    asked = ["data", "proposals", "digits", "--method", f"run:{out}", "--most", "9", "--limit", "2"]
    assert main([*asked, "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["boxes_per_image"] <= 9
    assert main(["eval", str(out), "--json"]) == 0
    assert '"coco_mask_ap"' in capsys.readouterr().out
