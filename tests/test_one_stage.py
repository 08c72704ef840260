"""Single-stage detectors: assignments as torchvision's, the pyramid's geometry, learning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_nets import tiny
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.fcos import FCOS as TorchvisionFCOS
from torchvision.ops import box_iou, sigmoid_focal_loss

from xfer import task as tasks
from xfer.backbones.build import create_backbone
from xfer.data.loading.loader import Loader
from xfer.data.sources.base import Bundle
from xfer.detectors.contract import Truth
from xfer.detectors.fcos import FCOS, centre_ness
from xfer.detectors.one_stage import Cells
from xfer.detectors.options import DetectorOptions
from xfer.detectors.pyramid import Pyramid, pyramid_maps
from xfer.detectors.retina import RetinaNet
from xfer.detectors.towers import focal_loss
from xfer.errors import XferError
from xfer.ops.sampling import match
from xfer.recipe.tables import DataTable
from xfer.task import Proposes, Task
from xfer.testing import check_task
from xfer.testing.scenes import ShapeScenes
from xfer.types import Batch, DataInfo, FeatureSpec

DETECT = tasks.get("detect")
ONE_STAGE = ("fcos", "retina", "ssd")


def options(detector: str, **values: Any) -> Any:
    small = {"detector": detector, "width": 16, "max_stride": 32}
    return tasks.make_options(DETECT, {**small, **values})


def made(detector: str, source: ShapeScenes, **values: Any) -> Task:
    torch.manual_seed(0)
    task = DETECT(
        tiny(False), source.info, options(detector, **values), DataTable(size=64, crop_area=(1, 1))
    )
    task.fit_data(Bundle("scenes", "voc", "detect", source.info.classes, {"train": source}))
    return task


def batch_of(task: Task, source: ShapeScenes, count: int = 4) -> Batch:
    loader = Loader(source, task.transform(False), task.collate, batch=count, train=False)
    return next(iter(loader.batches(0)))


@pytest.mark.parametrize("detector", ONE_STAGE)
def test_the_contract_holds(detector: str) -> None:
    source = ShapeScenes(9, step=8, empty=4, crowds=True)
    check_task("detect", source, tiny(), options(detector))


@pytest.mark.parametrize("detector", ONE_STAGE)
def test_a_detector_learns_scenes_by_heart(detector: str) -> None:
    source = ShapeScenes(4)
    task = made(detector, source)
    optimizer = torch.optim.Adam(task.parameters(), 1e-2)
    batch = batch_of(task, source, 4)
    task.train()
    for _ in range(70):
        optimizer.zero_grad()
        torch.stack(list(task(batch).values())).sum().backward()
        optimizer.step()
    task.eval()
    for tta in ("none", "flip"):
        metric = task.metric()
        metric.update(task.predict(batch, tta), batch)
        assert metric.compute()["voc_ap50_area"] > 0.75
    assert isinstance(task, Proposes)
    own = torch.from_numpy(source.annotation(0).xyxy).float()
    reached = match(own, task.propose(batch, 30)[0]).iou
    assert (reached > 0.5).float().mean() >= 0.75


def starts_of(detector: FCOS | RetinaNet, grids: list[tuple[int, int]]) -> Cells:
    parts = [detector.starts_of(k, grid) for k, grid in enumerate(grids)]
    none = torch.zeros(0)
    return Cells(none, none, torch.cat(parts), tuple(len(part) for part in parts))


SPECS = [FeatureSpec("a", 4, 8, 20, -0.5), FeatureSpec("b", 4, 16, 40, -0.5)]
GRIDS = [(16, 20), (8, 10), (4, 5)]
PLAIN = DetectorOptions(detector="fcos", width=32, max_stride=32)


@st.composite
def truths(draw: st.DrawFn) -> Tensor:
    """True boxes (G, 4) in a picture of 128 x 160 pixels."""
    seed, count = draw(st.integers(0, 10**6)), draw(st.integers(0, 9))
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 110, (count, 2)).round(draw(st.integers(0, 1)))
    size = np.exp(rng.uniform(np.log(4), np.log(140), (count, 2))).round(1)
    return torch.tensor(np.concatenate([corner, corner + size], 1), dtype=torch.float32)


@given(truths())
@settings(max_examples=60, deadline=None)
def test_fcos_assigns_cells_as_torchvision_does(truth: Tensor) -> None:
    detector = FCOS(SPECS, PLAIN, 3)
    cells = starts_of(detector, GRIDS)
    theirs: list[Tensor] = []

    class Head:
        def compute_loss(self, targets: Any, outputs: Any, anchors: Any, matched: Any) -> Any:
            theirs.extend(matched)

    shell: Any = type("Shell", (), {"center_sampling_radius": 1.5, "head": Head()})()
    counts = list(cells.counts)
    TorchvisionFCOS.compute_loss(shell, [{"boxes": truth}], {}, [cells.starts], counts)
    ours, neither = detector.assign(cells, truth)
    assert not neither.any()
    areas = (truth[:, 2:] - truth[:, :2]).prod(1)
    differ = torch.nonzero(ours != theirs[0]).flatten()
    # 1e8 - area has steps of 8 in float32: there objects of about one size are one to torchvision
    for n in differ.tolist():
        assert ours[n] >= 0 and theirs[0][n] >= 0
        assert areas[theirs[0][n]] - areas[ours[n]] <= 8


@given(truths())
@settings(max_examples=60, deadline=None)
def test_retina_matches_anchors_as_torchvision_does(truth: Tensor) -> None:
    if not len(truth):
        return
    detector = RetinaNet(SPECS, replace(PLAIN, detector="retina"), 3)
    cells = starts_of(detector, GRIDS)
    overlap = box_iou(truth, cells.starts)
    theirs = Matcher(0.5, 0.4, allow_low_quality_matches=True)(overlap)
    ours, neither = detector.assign(cells, truth)
    said = torch.where(neither, Matcher.BETWEEN_THRESHOLDS, ours)
    # torchvision lets an object that nothing touches claim every anchor, by an IoU of 0; and IoUs
    # of two formulas may differ in their last bit
    lost = (overlap.amax(1) == 0).any()
    assert lost or (said != theirs).sum() <= 1


def test_a_picture_without_objects_is_all_background() -> None:
    none = torch.zeros(0, 4)
    for detector in (FCOS(SPECS, PLAIN, 3), RetinaNet(SPECS, PLAIN, 3)):
        index, neither = detector.assign(starts_of(detector, GRIDS), none)
        assert (index == -1).all() and not neither.any()


def test_centre_ness_and_focal_loss_are_torchvisions() -> None:
    torch.manual_seed(0)
    detector = FCOS(SPECS, PLAIN, 3)
    starts = starts_of(detector, GRIDS).starts[:40]
    centres = (starts[:, :2] + starts[:, 2:]) / 2
    goals = torch.cat([centres - torch.rand(40, 2) * 30, centres + torch.rand(40, 2) * 30], 1)
    edges = torch.cat([centres - goals[:, :2], goals[:, 2:] - centres], 1)
    wide, tall = edges[:, [0, 2]], edges[:, [1, 3]]
    wanted = (wide.amin(1) / wide.amax(1) * tall.amin(1) / tall.amax(1)).sqrt()
    assert torch.allclose(centre_ness(starts, goals), wanted, atol=1e-6)
    logits, truth = torch.randn(50, 3) * 4, torch.randint(0, 2, (50, 3)).float()
    theirs = sigmoid_focal_loss(logits, truth, 0.25, 2.0)
    assert torch.allclose(focal_loss(logits, truth, 0.25, 2.0), theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("net", "maps", "strides"),
    [
        ("alexnet", ("conv2", "conv5"), (8, 16, 32, 64)),
        ("resnet18", ("layer2", "layer3", "layer4"), (8, 16, 32, 64)),
        ("timm:test_vit", ("blocks.5",), (16, 32, 64)),  # all of its maps have one stride
    ],
)
def test_a_pyramid_is_made_of_any_nets_maps(
    net: str, maps: tuple[str, ...], strides: tuple[int, ...]
) -> None:
    with torch.device("meta"):  # nothing is allocated
        backbone = create_backbone(net)
    chosen = pyramid_maps(backbone.specs, (), net)
    assert tuple(spec.name for spec in chosen) == maps
    pyramid = Pyramid(chosen, 8, 64).to("meta")
    assert tuple(spec.stride for spec in pyramid.specs) == strides
    side = backbone.preprocess.size
    levels = pyramid(backbone(torch.zeros(1, 3, side, side, device="meta"), want=maps))
    for level, spec in zip(levels, pyramid.specs, strict=True):
        assert level.shape[1] == 8 and 0 <= spec.offset < spec.stride
        assert abs(level.shape[2] * spec.stride - side) <= spec.stride + 16


def test_losses_do_not_depend_on_how_a_batch_is_split() -> None:
    source = ShapeScenes(4, crowds=True)
    for detector in ONE_STAGE:
        task = made(detector, source).eval()
        batch = batch_of(task, source, 4)
        whole = task(batch)
        parts = [task(batch.part(n, n + 2)) for n in (0, 2)]
        for name, value in whole.items():
            assert value.item() == pytest.approx(sum(p[name].item() for p in parts) / 2, rel=1e-4)


@pytest.mark.parametrize("detector", ONE_STAGE)
def test_boxes_and_scores_are_full_precision_in_a_pass_of_bf16(detector: str) -> None:
    source = ShapeScenes(2)
    task = made(detector, source, least_score=0.0, candidates=50).eval()
    with torch.autocast("cpu", torch.bfloat16):
        losses = task(batch_of(task, source, 2))
        found = task.predict(batch_of(task, source, 2))
    assert {v.dtype for v in losses.values()} == {torch.float32}
    for one in found:
        assert one.boxes.dtype == one.scores.dtype == np.float32
        assert len(np.unique(one.scores)) == len(one.scores) > 10, "bf16 has few scores near .01"


@pytest.mark.parametrize("detector", ONE_STAGE)
def test_cells_in_the_padding_find_nothing(detector: str) -> None:
    source = ShapeScenes(2, size=(64, 64))
    task = made(detector, source, least_score=0.0).eval()
    items = [task.transform(False)(source[i], np.random.default_rng(0)) for i in range(2)]
    wide = task.collate([items[0], replace(items[1], image=np.zeros((64, 256, 3), np.uint8))])
    boxes = task.predict(wide)[0].boxes
    assert len(boxes) and boxes.max() <= 64 and (boxes[:, 2:] > boxes[:, :2]).all()
    truth = Truth.of(wide)
    moved = task.head.losses(task.maps_of(task.backbone.normalise(wide.images)), truth)  # pyright: ignore
    assert all(torch.isfinite(v) for v in moved.values())


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"detector": "fcos", "proposals": "rpn"}, "fcos needs no proposals"),
        ({"detector": "faster", "proposals": "none"}, "faster needs proposals"),
        ({"detector": "yolo"}, "must be one of auto, fast, faster, fcos, retina, ssd"),
        ({"detector": "fcos", "levels": ["conv9"]}, "no map 'conv9'"),
    ],
)
def test_options_that_do_not_fit_are_told(values: dict[str, Any], told: str) -> None:
    with pytest.raises(XferError, match=told):
        DETECT(
            tiny(), DataInfo("x", "detect", ("a", "b")), tasks.make_options(DETECT, values),
            DataTable(size=64),
        )  # fmt: skip
