"""Published Caffe models as runs: every layer and output against an engine that is not ours."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import xfer
from xfer.importing.caffe_run import import_caffe
from xfer.nn.upsample import at_pixels

GOLDEN = Path(__file__).parent / "golden"


def _golden(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # the second imports the first, and its dataclass its own module
    spec.loader.exec_module(module)
    return module


_golden("make_caffe_golden")
caffe = _golden("make_caffe_heads_golden")


def files(folder: Path, name: str) -> tuple[Path, Path]:
    """The caffemodel and the prototxt of a made-up net with a published layout."""
    model, prototxt = folder / f"{name}.caffemodel", folder / f"{name}.prototxt"
    model.write_bytes(caffe.caffemodel(name, caffe.weights(name), False))
    prototxt.write_text(caffe.layout(name).text)
    return model, prototxt


def wanted(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / "caffe_heads_golden.npz") as golden:
        return {k.partition("/")[2]: golden[k] for k in golden.files if k.startswith(f"{name}/")}


def check(name: str, mine: torch.Tensor, numbers: Any) -> None:
    """Compares a sample; NaN stands for what is not kept here."""
    off = np.nanmax(np.abs(caffe.sample(mine.numpy()) - numbers))
    assert off <= 2e-5 * np.abs(numbers).max(), (name, off)


@pytest.mark.parametrize("name", ["fcn32s", "fcn8s"])
def test_the_scores_of_fcn_equal_opencvs(name: str, tmp_path: Path) -> None:
    report = import_caffe(*files(tmp_path, name), tmp_path / "run")
    assert report["unused"] == [] and report["classes"] == 21
    task: Any = xfer.load(tmp_path / "run", device="cpu").task
    golden, images = wanted(name), torch.from_numpy(caffe.picture(name))
    with torch.no_grad():
        maps = task.backbone(images, want=task.options.levels)
        check("score_fr", task.head.score[0](task.tail(maps["pool5"])), golden["score_fr"])
        scores = at_pixels(task.scores(images), task.head.spec, *images.shape[2:])
    if name == "fcn8s":  # the picture lies within the cells' centres
        check("score", scores, golden["score"])
    assert np.array_equal(scores[0].max(0).indices.numpy(), golden["classes"])


@pytest.mark.parametrize("name", ["fast_s", "fast_m", "faster_zf", "faster_vgg16"])
def test_the_outputs_of_detectors_equal_opencvs(name: str, tmp_path: Path) -> None:
    report = import_caffe(*files(tmp_path, name), tmp_path / "run")
    assert report["unused"] == [] and report["classes"] == 20
    task: Any = xfer.load(tmp_path / "run", device="cpu").task
    golden, images, head = wanted(name), torch.from_numpy(caffe.picture(name)), task.head
    regions = torch.from_numpy(caffe.rois()[:, 1:]) + torch.tensor([0.0, 0, 1, 1])
    with torch.no_grad():
        maps = head.map_of(task.maps_of(images))
        check("map", maps, golden.pop(task.options.levels[0].replace("conv", "relu")))
        scores, offsets = head.read(maps, [regions])
        raw = (offsets * head.box_std).flatten(1)
        if name.startswith("faster"):
            logits, moves, _ = head.rpn(maps)
    check("cls_score", scores.roll(1, 1), golden.pop("cls_score"))  # background first there
    all_boxes = torch.cat([torch.full((len(raw), 4), torch.nan), raw], 1)
    check("bbox_pred", all_boxes, golden.pop("bbox_pred"))
    if name.startswith("faster"):
        grid = (1, *maps.shape[2:], -1)
        check("rpn_score", logits.view(grid).permute(0, 3, 1, 2), golden.pop("rpn_cls_score"))
        check("rpn_boxes", moves.reshape(grid).permute(0, 3, 1, 2), golden.pop("rpn_bbox_pred"))
    assert not golden
