"""The task segment: every head on any backbone, full-size masks, options that don't fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_nets import tiny

from xfer import task as tasks
from xfer.backbones.build import create_backbone
from xfer.data.loading.loader import Loader
from xfer.data.sources.base import Bundle
from xfer.data.transforms.masks import mask_statistics
from xfer.errors import XferError
from xfer.nn.pixel_loss import pixel_cross_entropy
from xfer.nn.upsample import at_pixels
from xfer.recipe.tables import DataTable
from xfer.recipe.toml import load_recipe
from xfer.task import Task, get
from xfer.testing import check_task
from xfer.testing.mask_scenes import MaskScenes
from xfer.types import Batch, Sample


def options(**values: Any) -> Any:
    return tasks.make_options(get("segment"), values)


def build(backbone: Any, source: Any = None, size: int = 48, **values: Any) -> Any:
    source = source or MaskScenes()
    made = get("segment")(backbone, source.info, options(**values), DataTable(size=size))
    made.fit_data(Bundle("scenes", "test", "segment", source.info.classes, {"train": source}))
    return made


@pytest.mark.parametrize("values", [
    {}, {"head": "fcn32s", "tail": "fresh", "class_balance": 0.5}, {"head": "fcn16s"},
    {"hard_pixels": 0.3, "dice": 0.5}, {"normalise": False, "most_of_one": 0.7}, {"resize": False},
], ids=str)  # fmt: skip
def test_the_contract_holds(values: dict[str, Any]) -> None:
    check_task("segment", MaskScenes(8, (48, 64), 8), tiny(), options(**values))


def endless(loader: Loader) -> Iterator[Batch]:
    for epoch in itertools.count():
        yield from loader.batches(epoch)


def train(task: Task, source: Any, steps: int, lr: float = 3e-3) -> None:
    optimizer = torch.optim.Adam(task.parameters(), lr)
    loader = Loader(source, task.transform(True), task.collate, batch=4, train=True, workers=0)
    task.train()
    for batch in itertools.islice(endless(loader), steps):
        losses = task(batch)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()


def score(task: Task, source: Any, tta: str = "none", batch: int = 4) -> dict[str, Any]:
    task.eval()
    metric = task.metric()
    loader = Loader(source, task.transform(False, tta), task.collate, batch=batch, train=False)
    for each in loader.batches(0):
        metric.update(task.predict(each, tta), each)
    return metric.compute()


@pytest.mark.parametrize("head", ["decoder", "fcn16s"])
def test_it_learns_a_few_pictures_by_heart(head: str) -> None:
    torch.manual_seed(0)
    source = MaskScenes(8)
    task = build(tiny(), source, head=head, scales=(0.8, 1.25), width=32)
    train(task, source, 120, 1e-2)
    for tta in ("none", "flip", "multiscale"):
        assert score(task, source, tta)["miou"] > 0.75, tta


def test_masks_have_the_pictures_own_sizes_and_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    source = MaskScenes(6, (40, 70), 13)
    task = build(tiny(), source)
    train(task, source, 20)
    task.eval()
    samples = [task.transform(False)(source[i], np.random.default_rng(0)) for i in range(6)]
    together = task.predict(task.collate(samples), "flip")
    for i, found in enumerate(together):
        assert found.mask.shape == found.size == source[i].image.shape[:2]
        assert found.mask.dtype == np.uint8
        (alone,) = task.predict(task.collate([samples[i]]), "flip")
        assert (alone.mask == found.mask).mean() > 0.98


def test_windows_say_what_the_whole_says() -> None:
    torch.manual_seed(0)
    source = MaskScenes(2, (600, 700))
    task = build(tiny(), source, head="fcn16s", resize=False, window=256)
    train(task, MaskScenes(8), 40)
    task.eval()
    item = task.transform(False)(source[0], np.random.default_rng(0))
    (pieces,) = task.predict(task.collate([item]))
    task.options = replace(task.options, window=1024)
    (whole,) = task.predict(task.collate([item]))
    assert len(np.unique(whole.mask)) == 3
    assert (pieces.mask == whole.mask).mean() > 0.999


def test_a_mirrored_picture_gets_the_mirrored_mask_with_flip() -> None:
    torch.manual_seed(0)
    source = MaskScenes(4)
    task = build(tiny(), source)
    train(task, source, 30)
    task.eval()
    sample = source[0]
    turned = Sample("t", np.ascontiguousarray(sample.image[:, ::-1]))
    masks = [
        task.predict(task.collate([task.transform(False)(s, np.random.default_rng(0))]), "flip")[0]
        for s in (sample, turned)
    ]
    assert (masks[0].mask[:, ::-1] == masks[1].mask).mean() > 0.98


@pytest.mark.parametrize(("name", "head", "levels"), [
    ("alexnet", "fcn32s", ("pool5",)), ("alexnet", "fcn8s", ("pool5", "conv5", "conv2")),
    ("vgg11", "fcn8s", ("pool5", "pool4", "pool3")),
    ("resnet18", "fcn16s", ("layer4", "layer3")),
    ("alexnet", "decoder", ("conv5", "conv2", "conv1")),
    ("resnet18", "decoder", ("layer4", "layer3", "layer2", "layer1")),
    ("timm:resnet10t", "decoder", ("layer4", "layer3", "layer2", "layer1")),
])  # fmt: skip
def test_every_head_finds_its_maps(name: str, head: str, levels: tuple[str, ...]) -> None:
    task = build(create_backbone(name), size=64, head=head, width=16)
    assert task.options.levels == levels
    with torch.no_grad():
        scores = task.eval().scores(torch.randn(1, 3, 96, 128))
    assert scores.shape[1] == 3 and torch.isfinite(scores).all()


def test_the_tail_of_an_fcn_is_the_nets_own_as_convolutions() -> None:
    net = create_backbone("alexnet").eval()
    assert net.tail is not None
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = net(images, want=("fc7",))["fc7"]
    task = build(net, size=224, head="fcn32s", tail="own").eval()
    with torch.no_grad():
        padded = task.tail(task.backbone(images, want=("pool5",))["pool5"])
    assert padded.shape[2:] == (1, 1)
    assert torch.allclose(padded[:, :, 0, 0], expected, atol=1e-4)
    assert [s.name for s in task.stages()][-3:] == ["fc6", "fc7", "head"]


def test_convolutions_without_fc_weights_get_a_small_fresh_layer() -> None:
    assert build(create_backbone("alexnet"), head="fcn32s").options.tail == "fresh"
    assert build(create_backbone("resnet18"), head="fcn32s").options.tail == "none"


@pytest.mark.parametrize(("net", "values", "words"), [
    ("resnet18", {"head": "fcn32s", "tail": "own"}, "no fc6, fc7"),
    ("alexnet", {"head": "fcn32s", "tail": "own", "levels": ("conv5",)}, "that read conv5"),
    ("alexnet", {"levels": ("conv9",)}, "no map 'conv9'"),
    ("alexnet", {"levels": ("conv4", "conv5")}, "one map per stride"),
    ("alexnet", {"staged": True, "head": "fcn16s"}, "the run to start from"),
    ("alexnet", {"head": "fcn16s", "skip_scales": (0.1, 0.2)}, "2 scales for 1 skips"),
    ("alexnet", {"head": "fcn16s", "levels": ("pool5",)}, "reads 2 maps, but task.levels names 1"),
    ("timm:resnet18", {"dilate": 8}, "still has maps of stride 32"),
    ("timm:resnet10t", {"dilate": 8}, "can't be dilated"),
    ("alexnet", {"dilate": 3}, "not a power of two"),
    ("timm:vit_tiny_patch16_224", {"head": "fcn16s"}, "no map of stride 8"),
    ("alexnet", {"normalise": False, "hard_pixels": 0.5}, "selects pixels for a mean"),
    ("alexnet", {"tail": "fresh"}, "the decoder uses no fc6 and fc7"),
    ("alexnet", {"skip_scales": (0.1,)}, "for fcn16s and fcn8s"),
])  # fmt: skip
def test_options_that_do_not_fit_are_refused(net: str, values: dict[str, Any], words: str) -> None:
    with pytest.raises(XferError, match=words):
        build(create_backbone(net), size=64, **values)


def test_dilation_makes_finer_maps() -> None:
    task = build(create_backbone("alexnet"), size=64, dilate=8)
    assert task.head.specs[0].stride == 8
    assert task.options.levels == ("conv5", "conv1")


def test_weights_of_classes_come_from_the_training_masks() -> None:
    source = MaskScenes(6)
    task = build(tiny(), source, class_balance=0.5)
    assert task.class_weight is not None
    weight = task.class_weight.tolist()
    assert weight[0] < weight[1] and weight[0] < weight[2]
    assert build(tiny(), source).class_weight is None


def test_the_size_of_pictures_comes_from_the_training_set_unless_it_is_given() -> None:
    source = MaskScenes(6, (90, 100))
    made = get("segment")(tiny(), source.info, options(), DataTable())
    made.fit_data(Bundle("scenes", "test", "segment", source.info.classes, {"train": source}))
    assert made.preprocess.size == 120 and made.crop == 96
    assert build(tiny(), source, 48).preprocess.size == 48


def test_a_loss_on_every_second_pixel_is_the_mean_of_those() -> None:
    torch.manual_seed(0)
    source = MaskScenes(4)
    task = build(tiny(), source, loss_step=2)
    task.head.drop.p = 0.0
    batch = next(Loader(source, task.transform(True), task.collate, batch=4, train=True).batches(0))
    found = task(batch)["cross_entropy"]
    with torch.no_grad():
        scores = task.scores(task.backbone.normalise(batch.images), batch.targets["sizes"])
    labels = torch.stack(batch.targets["masks"]).long()
    logits = at_pixels(scores, task.head.spec, *labels.shape[1:])
    expected = pixel_cross_entropy(logits[:, :, ::2, ::2], labels[:, ::2, ::2])
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_sum_over_every_second_pixel_stands_for_all() -> None:
    source = MaskScenes(4)
    losses: list[float] = []
    for step in (1, 2):
        torch.manual_seed(0)
        task = build(tiny(), source, normalise=False, loss_step=step)
        loader = Loader(source, task.transform(True), task.collate, batch=4, train=True)
        losses.append(float(task.eval()(next(loader.batches(0)))["cross_entropy"].detach()))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_recipes_of_papers_read_the_loss_at_every_pixel() -> None:
    sets = ("voc12", "voc12-vgg16-8s", "pascal-context", "nyudv2", "sift-flow")
    for name in (f"segment/{each}" for each in sets):
        chosen = options(**load_recipe(name).task_options)
        assert chosen.loss_step == 1 and chosen.class_balance == 0 and chosen.hard_pixels == 1


@pytest.mark.parametrize("values", [{}, {"head": "fcn32s"}, {"head": "fcn8s", "tail": "own"}])
def test_pictures_smaller_than_the_net_can_see_are_padded(values: dict[str, Any]) -> None:
    task = build(create_backbone("alexnet"), size=24, **values)
    assert task.crop == 32
    rng = np.random.default_rng(0)
    batch = task.collate([task.transform(True)(MaskScenes(1)[0], rng)])
    assert torch.isfinite(torch.stack(list(task(batch).values()))).all()
    small = Sample("s", np.zeros((5, 9, 3), np.uint8))
    batch = task.eval().collate([task.transform(False)(small, rng)])
    for tta in task.views:
        assert task.predict(batch, tta)[0].mask.shape == (5, 9)


def test_weights_of_classes_can_be_taken_back_where_classes_are_named() -> None:
    torch.manual_seed(0)
    source = MaskScenes(6)
    task = build(tiny(), source, class_balance=0.5, logit_adjust=1.0, head="fcn32s", tail="none")
    assert task.class_weight is not None and task.shift is not None
    assert torch.allclose(task.shift.exp(), task.class_weight)
    # scores as weighted training makes them where nothing can be told apart
    found = mask_statistics(source)
    often = torch.from_numpy(found.pixels / found.pixels.sum()).float()
    (layer,) = task.head.score
    with torch.no_grad():
        layer.bias.copy_((often * task.class_weight**3).log())
    item = task.transform(False)(source[0], np.random.default_rng(0))
    for share, power in ((0.0, 3), (3.0, 0)):
        task.shift.copy_(share * task.class_weight.log())
        said = task.eval().predict(task.collate([item]))[0].mask
        assert set(np.unique(said)) == {int((often * task.class_weight**power).argmax())}
    again = build(tiny(), source, class_balance=0.5, logit_adjust=1.0, head="fcn32s", tail="none")
    again.load_state_dict(task.state_dict())
    assert torch.equal(again.shift, task.shift)
    assert build(tiny(), source, class_balance=0.5).shift is None
    assert build(tiny(), source, logit_adjust=0.5).shift is None  # nothing to take back
