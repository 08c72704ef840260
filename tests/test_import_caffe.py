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
from mask_sets import make_mask, write_mask, write_picture

import xfer
from xfer.cli.app import main
from xfer.detectors.two_stage import grids
from xfer.errors import DataError, XferError
from xfer.importing.caffe_detector import anchors_of
from xfer.importing.caffe_net import CaffeNet
from xfer.importing.caffe_run import import_caffe
from xfer.importing.prototxt import read_prototxt
from xfer.nn.roi_pool import pool_regions
from xfer.nn.upsample import at_pixels
from xfer.ops.anchors import grid_anchors
from xfer.ops.boxes import decode
from xfer.runs.listing import list_runs
from xfer.tasks.detect import Detect
from xfer.types import FeatureSpec

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


# the comment above generate_anchors.py's main: first and last pixel, scales 8, 16, 32 of each shape
PUBLISHED_ANCHORS = (
    (-84, -40, 99, 55), (-176, -88, 191, 103), (-360, -184, 375, 199), (-56, -56, 71, 71),
    (-120, -120, 135, 135), (-248, -248, 263, 263), (-36, -80, 51, 95), (-80, -168, 95, 183),
    (-168, -344, 183, 359),
)  # fmt: skip


@pytest.mark.parametrize("padding", ["faster_rcnn", "spp"])
def test_anchors_are_those_of_py_faster_rcnn(padding: str, tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(caffe.layout("faster_zf").text)
    layers = read_prototxt(tmp_path / "net.prototxt")
    net = CaffeNet(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", layers, {}, set())
    sizes = torch.tensor(anchors_of(net), dtype=torch.float32)
    spec = xfer.create_backbone("zfnet", padding=padding, tail_widths=(8, 8)).specs["conv5"]
    _, there = grids(spec, Detect.Options(geometry="caffe", pool="max"))
    mine = grid_anchors(there, (3, 4), sizes).view(3, 4, 9, 4)
    published = torch.tensor(PUBLISHED_ANCHORS) + torch.tensor([0, 0, 1, 1])
    shift = 16 * torch.tensor([3, 2, 3, 2])  # x, y of the cell in the last row and column
    assert torch.equal(mine[0, 0], published.float())
    assert torch.equal(mine[2, 3], (published + shift).float())


def test_boxes_are_decoded_as_in_py_faster_rcnn() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 200, (50, 2))
    rois = np.concatenate([first, first + rng.uniform(5, 200, (50, 2))], 1)
    dx, dy, dw, dh = moves = rng.normal(0, 0.3, (4, 50))
    # bbox_transform_inv, of first and last pixels; its ends are one past the last pixel
    width, height = rois[:, 2] - rois[:, 0] + 1, rois[:, 3] - rois[:, 1] + 1
    x, y = rois[:, 0] + 0.5 * width + dx * width, rois[:, 1] + 0.5 * height + dy * height
    w, h = np.exp(dw) * width, np.exp(dh) * height
    theirs = np.stack([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h], 1)
    edges = torch.from_numpy(rois + np.array([0, 0, 1, 1]))
    mine = decode(torch.from_numpy(moves.T.copy())[:, None], edges[:, None], torch.ones(4))
    torch.testing.assert_close(mine[:, 0], torch.from_numpy(theirs))


def pooled_by_caffe(cells: Any, roi: Any, size: int) -> Any:
    """roi_pooling_layer.cpp in numpy: (C, h, w), first and last pixel of a region -> (C, s, s)."""
    out = np.zeros((cells.shape[0], size, size), np.float32)
    x1, y1, x2, y2 = (int(np.floor(v / 16 + 0.5)) for v in roi)
    high, wide = max(y2 - y1 + 1, 1) / size, max(x2 - x1 + 1, 1) / size
    for i in range(size):
        for j in range(size):
            rows = slice(*(int(np.clip(v + y1, 0, cells.shape[1]))
                           for v in (np.floor(i * high), np.ceil((i + 1) * high))))  # fmt: skip
            columns = slice(*(int(np.clip(v + x1, 0, cells.shape[2]))
                              for v in (np.floor(j * wide), np.ceil((j + 1) * wide))))  # fmt: skip
            part = cells[:, rows, columns]
            if part.size:
                out[:, i, j] = part.max((1, 2))
    return out


def test_regions_are_pooled_as_by_caffes_layer() -> None:
    cells = np.random.default_rng(1).normal(size=(3, 7, 9)).astype(np.float32)
    rois = caffe.rois()[:, 1:]
    spec = FeatureSpec("conv5_3", 3, 16, 196, 7.5)  # VGG's: its own geometry is half a stride off
    there, _ = grids(spec, Detect.Options(geometry="caffe", pool="max"))
    edges = torch.from_numpy(rois) + torch.tensor([0.0, 0, 1, 1])
    mine = pool_regions(torch.from_numpy(cells)[None], [edges], there, 6, "max")
    theirs = np.stack([pooled_by_caffe(cells, roi, 6) for roi in rois])
    assert np.array_equal(mine.numpy(), theirs)


@pytest.fixture(scope="module")
def fcn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return files(tmp_path_factory.mktemp("fcn"), "fcn32s")


def test_an_imported_run_predicts_and_evaluates(fcn: tuple[Path, Path], tmp_path: Path) -> None:
    assert main(["models", "import", str(fcn[0]), "--prototxt", str(fcn[1]), "-o",
                 str(tmp_path / "run")]) == 0  # fmt: skip
    tree = tmp_path / "VOC2012"
    for name in ("a", "b"):
        write_picture(tree / "JPEGImages" / f"{name}.jpg", size=(64, 96))
        write_mask(tree / "SegmentationClass" / f"{name}.png", make_mask(range(21), 0, (64, 96)))
    lists = tree / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a\nb\n")
    result = xfer.evaluate(tmp_path / "run", data=str(tree), split="val")
    assert result["images"] == 2 and 0 <= result["metrics"]["miou"] <= 1
    model = xfer.load(tmp_path / "run")
    assert model.classes[:2] == ("background", "aeroplane")
    (one,) = model.predict(tree / "JPEGImages" / "a.jpg")
    assert one.mask.shape == (64, 96)
    assert list_runs(tmp_path)[0]["state"] == "finished"


def test_classes_are_named_by_a_file(fcn: tuple[Path, Path], tmp_path: Path) -> None:
    names = [f"class {n}" for n in range(20)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    import_caffe(*fcn, tmp_path / "run", classes=tmp_path / "names.txt")
    kept = (tmp_path / "run" / "classes.txt").read_text().splitlines()
    assert kept == ["background", *names]
    (tmp_path / "names.txt").write_text("\n".join(names[:5]))
    with pytest.raises(DataError, match="5 names, where the net has 21 outputs"):
        import_caffe(*fcn, tmp_path / "other", classes=tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("cat\n" * 20)
    with pytest.raises(DataError, match="twice"):
        import_caffe(*fcn, tmp_path / "other", classes=tmp_path / "names.txt")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "old, new, why",
    [
        ("num_output: 384", "num_output: 380", "conv3 has outputs 380 where caffenet has outputs"),
        ("stride: 4 pad: 100", "stride: 2 pad: 100", "conv1 has stride 2"),
        ("alpha: 0.0001", "alpha: 0.1", "lrn has alpha 0.1 where caffenet has alpha 0.0001"),
        ('"score_fr"', '"score"', "no head that is known"),
        ("offset: 18", "offset: 19", "score crops 19, where the geometry asks for 18"),
        ("kernel_size: 63 stride: 32", "kernel_size: 63 stride: 16", "upscore has stride 16"),
        ("num_output: 21 ", "num_output: 34 ", "34 outputs, where VOC's"),
        ('"fc7"', '"fc7b"', "no layer is called fc7"),
    ],
)
def test_a_net_that_is_another_one_is_refused(
    old: str, new: str, why: str, fcn: tuple[Path, Path], tmp_path: Path
) -> None:
    text = fcn[1].read_text()
    assert old in text
    (tmp_path / "net.prototxt").write_text(text.replace(old, new))
    with pytest.raises(XferError, match=f"{why}"):
        import_caffe(fcn[0], tmp_path / "net.prototxt", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_learnt_upsampling_and_missing_weights_are_refused(
    fcn: tuple[Path, Path], tmp_path: Path
) -> None:
    model, made = tmp_path / "net.caffemodel", caffe.weights("fcn32s")
    for name, change, why in (
        ("upscore", lambda blobs: [blobs[0] * 1.1], "upscore is not bilinear"),
        ("fc7", lambda blobs: [np.full_like(blobs[0], np.nan), blobs[1]], "fc7.weight has NaN"),
        ("conv2", lambda blobs: [blobs[0][:-1], blobs[1]], "conv2.weight is"),
        ("score_fr", lambda _: [], "no weights score_fr.weight"),
    ):
        model.write_bytes(caffe.caffemodel("n", {**made, name: change(made[name])}, False))
        with pytest.raises(DataError, match=why):
            import_caffe(model, fcn[1], tmp_path / "run")


def test_words_that_do_not_go_together_are_refused(
    fcn: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, prototxt = map(str, fcn)
    out = str(tmp_path / "run")
    (tmp_path / "there").mkdir()
    for words, why in (
        (["--prototxt", prototxt, "--net", "caffenet", "-o", out], "already says"),
        (["--classes", prototxt, "-o", out], "needs --prototxt"),
        (["--prototxt", prototxt, "-o", f"{out}.safetensors"], "which is a folder"),
        (["--prototxt", prototxt, "-o", str(tmp_path / "there")], "exists"),
    ):
        assert main(["models", "import", model, *words]) == 2
        assert why in capsys.readouterr().err
