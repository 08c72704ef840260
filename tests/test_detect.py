"""The task detect: each kind of detector, learning, options that don't fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_nets import tiny

from xfer import task as tasks
from xfer.backbones.alexnet import alexnet
from xfer.backbones.build import create_backbone
from xfer.data.loading.loader import Loader
from xfer.data.sources.base import Bundle
from xfer.errors import XferError
from xfer.proposals.propose import propose_one
from xfer.recipe.tables import DataTable
from xfer.task import Proposes, Task
from xfer.testing import check_task
from xfer.testing.scenes import ShapeScenes
from xfer.types import Batch, DataInfo

INFO = DataInfo("scenes", "detect", ("disc", "square"))
DETECT = tasks.get("detect")


def options(**values: Any) -> Any:
    small = {"head_width": 16, "rpn_width": 8, "width": 8, "pool_size": 3, "anchor_count": 4}
    return tasks.make_options(DETECT, {**small, **values})


def made(source: ShapeScenes, size: int = 64, **values: Any) -> Task:
    torch.manual_seed(0)
    task = DETECT(
        tiny(False), source.info, options(**values), DataTable(size=size, crop_area=(1, 1))
    )
    task.fit_data(Bundle("scenes", "voc", "detect", INFO.classes, {"train": source}))
    task.prepare(source)
    return task


def batch_of(task: Task, source: ShapeScenes, count: int = 4, train: bool = False) -> Batch:
    loader = Loader(source, task.transform(train), task.collate, batch=count, train=False)
    return next(iter(loader.batches(0)))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"pool": "max", "ohem": True, "rounds": 2},
        {"proposals": "grid", "most_proposals": 60, "background_iou": [0.1, 0.5]},
        {"levels": ["conv1", "conv2"], "rpn_step": 2, "agnostic": True},
    ],
    ids=["rpn", "max", "grid", "merged"],
)
def test_the_contract_holds_for_every_kind_of_detector(values: dict[str, Any]) -> None:
    source = ShapeScenes(9, step=8, empty=4, crowds=True)
    check_task("detect", source, tiny(), options(**values))


def test_a_detector_learns_scenes_by_heart() -> None:
    source = ShapeScenes(8)
    task = made(source, rpn_train=[200, 60], rpn_test=[200, 60], regions=32, rpn_batch=64)
    optimizer = torch.optim.Adam(task.parameters(), 3e-3)
    batch = batch_of(task, source, 8)
    task.train()
    for _ in range(150):
        optimizer.zero_grad()
        torch.stack(list(task(batch).values())).sum().backward()
        optimizer.step()
    task.eval()
    scores = {}
    for tta in task.views:
        seen = next(iter(Loader(source, task.transform(False, tta), task.collate, batch=8,
                                train=False).batches(0)))  # fmt: skip
        metric = task.metric()
        metric.update(task.predict(seen, tta), seen)
        scores[tta] = metric.compute()["voc_ap50_area"]
    # shapes lie over each other, some wholly
    assert min(scores["none"], scores["flip"]) > 0.75 and scores["multiscale"] > 0.5, scores


def test_boxes_are_in_the_pictures_own_pixels() -> None:
    source = ShapeScenes(6, step=30)
    task = made(source, size=96).eval()
    batch = batch_of(task, source, 6)
    for said, i in zip(task.predict(batch), range(6), strict=True):
        height, width = source[i].image.shape[:2]
        assert said.size == (height, width)
        assert (said.boxes >= 0).all() and (said.boxes <= [width, height, width, height]).all()
        assert (np.diff(said.scores) <= 0).all() and len(said.scores) <= 100
    for truth, i in zip(batch.targets["annotations"], range(6), strict=True):
        assert truth == source.annotation(i)


def test_padding_changes_nothing_that_is_found_in_a_picture() -> None:
    """A small picture beside a large one: none of its proposals is lost to the padding."""
    source = ShapeScenes(3, size=(60, 64), step=20)
    task = made(source, rpn_nms=1.0).eval()
    with torch.no_grad():  # so that maps are zero in the padding, as around a picture alone
        for parameter in task.backbone.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
    items = [task.transform(False)(source[i], np.random.default_rng(0)) for i in range(3)]
    wide = task.collate([items[0], replace(items[1], image=np.zeros((64, 200, 3), np.uint8))])
    assert isinstance(task, Proposes)
    found, alone = (task.propose(batch, 1000)[0] for batch in (wide, task.collate(items[:1])))
    assert len(found) == 1000
    rows = [sorted(boxes.round(decimals=2).tolist()) for boxes in (found, alone)]
    assert rows[0] == [pytest.approx(row, abs=0.02) for row in rows[1]]


def test_parts_of_a_batch_have_the_losses_of_their_pictures() -> None:
    source = ShapeScenes(6, crowds=True)
    task = made(source)
    batch = batch_of(task, source, 6)
    part = batch.part(2, 4)
    assert [len(part.targets[k]) for k in ("boxes", "labels", "crowds", "sizes")] == [2] * 4
    assert all(torch.isfinite(v) for v in task(part).values())


def test_a_large_batch_is_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ShapeScenes(5)
    task = made(source).eval()
    batch = batch_of(task, source, 5)
    whole = task.predict(batch, "flip")
    seen: list[int] = []
    real = task.backbone.normalise
    monkeypatch.setattr(
        task.backbone, "normalise", lambda images: (seen.append(len(images)), real(images))[1]
    )
    monkeypatch.setattr("xfer.detectors.batches.MOST_PIXELS", 2 * 64 * 96)
    parts = task.predict(batch, "flip")
    assert seen == [2, 2, 1]
    for one, two in zip(whole, parts, strict=True):
        assert one.id == two.id and np.allclose(one.boxes, two.boxes, atol=1e-3)


def test_losses_are_full_precision_in_a_pass_of_bf16() -> None:
    source = ShapeScenes(4)
    task = made(source)
    with torch.autocast("cpu", torch.bfloat16):
        losses = task(batch_of(task, source))
    assert {v.dtype for v in losses.values()} == {torch.float32}
    assert set(losses) == {"rpn_score", "rpn_box", "cls", "box"}


def test_the_same_seed_draws_the_same_regions() -> None:
    source = ShapeScenes(4)
    task = made(source, regions=8, rpn_batch=16)
    batch = batch_of(task, source)
    seen: list[float] = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        seen.append(task(batch)["cls"].item())
    assert seen[0] == seen[1] != seen[2]


def test_anchors_are_fitted_once_and_rebuild_the_model() -> None:
    source = ShapeScenes(12)
    task = made(source)
    chosen = task.resolved_options()
    anchors = np.array(chosen["anchors"]).reshape(-1, 2)
    assert len(anchors) == 4 and anchors.min() >= 16 and anchors.max() <= 30
    again = DETECT(tiny(False), INFO, tasks.make_options(DETECT, chosen), DataTable(size=64))
    assert np.allclose(again.get_buffer("head.rpn.sizes").numpy(), anchors)
    again.load_state_dict(task.state_dict())
    batch = batch_of(task, source)
    one, two = task.eval().predict(batch), again.eval().predict(batch)
    assert all(np.array_equal(a.boxes, b.boxes) for a, b in zip(one, two, strict=True))


def test_anchors_that_were_given_stay() -> None:
    task = made(ShapeScenes(4), anchors=[20, 40, 60, 30])
    assert task.resolved_options()["anchors"] == [20, 40, 60, 30]


@pytest.mark.parametrize(
    ("format", "name", "primary"),
    [("voc", "mine", "voc_ap50_area"), ("voc", "voc07", "voc_ap50_11pt"), ("coco", "x", "coco_ap")],
)
def test_the_primary_score_is_that_of_the_format(format: str, name: str, primary: str) -> None:
    source = ShapeScenes(3)
    task = DETECT(tiny(), INFO, options(), DataTable(size=64))
    task.fit_data(Bundle(name, format, "detect", INFO.classes, {"train": source}))
    assert task.metric().primary == primary == task.resolved_options()["primary"]


def test_the_nets_own_fc_layers_are_the_head_where_the_weights_have_them() -> None:
    whole = DETECT(alexnet(), INFO, tasks.make_options(DETECT, {}), DataTable())
    assert whole.options.head == "tail"
    names = [stage.name for stage in whole.stages()]
    assert names == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "head"]
    merged = DETECT(
        alexnet(), INFO, tasks.make_options(DETECT, {"levels": ["conv2", "conv5"]}), DataTable()
    )
    assert merged.options.head == "fc" and merged.backbone.tail is None
    assert merged.head.spec.stride == 8  # pyright: ignore[reportAttributeAccessIssue]


def test_cells_that_the_nets_own_layers_do_not_read_are_refused() -> None:
    given = {"head": "tail", "pool_size": 7}
    with pytest.raises(XferError, match=r"task\.pool_size=7: fc6 of alexnet reads 6 x 6 cells"):
        DETECT(alexnet(), INFO, tasks.make_options(DETECT, given), DataTable())


def test_a_shallow_level_leaves_the_layers_above_alone() -> None:
    task = DETECT(alexnet(), INFO, tasks.make_options(DETECT, {"levels": ["conv3"]}), DataTable())
    assert [stage.name for stage in task.stages()] == ["conv1", "conv2", "conv3", "head"]


@pytest.mark.parametrize(
    ("values", "detector", "proposals"),
    [
        ({}, "faster", "rpn"),
        ({"detector": "fast"}, "fast", "selective_search"),
        ({"proposals": "grid"}, "fast", "grid"),
        ({"detector": "fast", "proposals": "grid"}, "fast", "grid"),
    ],
)
def test_detector_and_proposals_follow_from_each_other(
    values: dict[str, Any], detector: str, proposals: str
) -> None:
    chosen = made(ShapeScenes(2), most_proposals=20, **values).resolved_options()
    assert (chosen["detector"], chosen["proposals"]) == (detector, proposals)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"detector": "faster", "proposals": "grid"}, "faster proposes regions itself"),
        ({"detector": "fast", "proposals": "rpn"}, "no network of its own"),
        ({"levels": ["conv9"]}, "no map 'conv9'"),
        ({"head": "tail"}, "no fc6, fc7"),
        ({"anchors": [1, 2, 3]}, "3 numbers"),
        ({"proposals": "magic"}, "unknown proposals 'magic'"),
        ({"background_iou": [0.5, 0.1]}, "must not decrease"),
        ({"regions": 0}, "at least 1"),
        ({"pool": "average"}, "must be one of max, align"),
        ({"primary": "map"}, "must be one of auto, coco_ap, "),
    ],
)
def test_options_that_do_not_fit_are_told(values: dict[str, Any], told: str) -> None:
    with pytest.raises(XferError, match=told):
        made(ShapeScenes(2), **values)


def test_a_net_that_sees_one_size_alone_gets_its_long_sides_scaled_to_it() -> None:
    source = ShapeScenes(2)
    plain = tasks.make_options(DETECT, {"head_width": 16, "pool_size": 3})
    net = create_backbone("timm:mixer_s16_224")
    task = DETECT(net, source.info, plain, DataTable(size=480))
    assert "only squares of 224 px" in task.size_note
    assert (task.preprocess.size, task.long_side) == (224, 224)
    batch = batch_of(task, source, 2)
    assert max(batch.images.shape[2:]) == 224
    task.eval()
    assert len(task.predict(batch)) == len(task.predict(batch, "multiscale")) == 2
    # a vision transformer takes what is asked for
    vit = DETECT(create_backbone("timm:test_vit"), source.info, plain, DataTable(size=480))
    assert vit.size_note == "" and vit.long_side == 800


@pytest.mark.parametrize(
    ("net", "levels"),
    [
        ("alexnet_bn", ("conv1", "conv2", "conv5")),
        ("resnet18", ("layer1", "layer2", "layer3")),
        ("timm:test_vit", ("blocks.5",)),  # all of its maps have one stride
    ],
)
def test_maps_are_named_by_stride_on_whatever_net(net: str, levels: tuple[str, ...]) -> None:
    given = options(levels=["stride4", "stride8", "stride16"], rpn_step=0)
    task = DETECT(create_backbone(net), INFO, given, DataTable(size=192))
    assert task.options.levels == levels
    step = task.backbone.specs[levels[0]].stride * task.options.rpn_step
    assert step == max(8, task.backbone.specs[levels[0]].stride)


def test_views_that_the_task_does_not_offer_are_told() -> None:
    task = made(ShapeScenes(2))
    with pytest.raises(XferError, match="unknown tta '10crop'"):
        task.check_views("flip", "10crop")
    assert "64 px" in task.view_protocol("flip")


def test_pictures_without_annotation_can_be_predicted() -> None:
    source = ShapeScenes(2)
    task = made(source).eval()
    bare = replace(source[0], boxes=None, id="new")
    item = task.transform(False)(bare, np.random.default_rng(0))
    batch = task.collate([item])
    assert "annotations" not in batch.targets
    assert task.predict(batch)[0].id == "new"
    row = task.describe(task.predict(batch)[0])
    assert row["id"] == "new" and isinstance(row["boxes"], list)


def test_a_set_without_any_box_still_has_anchors() -> None:
    source = ShapeScenes(3, empty=1)
    task = made(source)
    assert len(task.resolved_options()["anchors"]) == 8
    losses = task(batch_of(task, source, 3))
    assert losses["box"].item() == 0 and losses["cls"].item() > 0
    torch.stack(list(losses.values())).sum().backward()
    assert len(source.annotation(0)) == 0


def test_pictures_of_two_splits_with_one_name_keep_their_own_proposals(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, val = ShapeScenes(2, size=(64, 64)), ShapeScenes(2, size=(64, 64), seed=1)
    monkeypatch.setenv("XFER_CACHE", str(tmp_path))
    assert train.ids == val.ids
    task = made(train, proposals="selective_search", most_proposals=30)
    first = task.transform(False)
    task.prepare(val)
    second = task.transform(False)
    unused = np.random.default_rng(0)
    for source, transform in ((train, first), (val, second)):
        for i in range(2):
            given = transform(source[i], unused).proposals
            assert np.array_equal(given, propose_one(source[i].image, "selective_search", 30))


def test_a_long_search_for_proposals_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path))
    monkeypatch.setattr("xfer.proposals.search.SECONDS", 0.0)
    source = ShapeScenes(3)
    task = DETECT(tiny(), INFO, options(proposals="selective_search"), DataTable(size=64))
    lines: list[str] = []
    task.prepare(source, lines.append)
    assert [line.partition(", about")[0] for line in lines] == [
        "selective_search: 1 of 3 pictures", "selective_search: 2 of 3 pictures",
    ]  # fmt: skip
    task.prepare(source, lines.append)
    assert len(lines) == 2, "searched once"
