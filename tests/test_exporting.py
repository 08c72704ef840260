"""Runs as files for other programs: they predict and score as the run does, also without xfer."""

from __future__ import annotations

import importlib.util
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_nets import tiny

import xfer
from xfer import task as tasks
from xfer.cli.app import main
from xfer.errors import DataError, XferError
from xfer.exporting.contract import Choices, exportable
from xfer.exporting.labels import ExportedLabels
from xfer.exporting.metadata import from_text
from xfer.exporting.onnx_file import OnnxRunner
from xfer.exporting.opened import load_onnx
from xfer.exporting.suppress import kept
from xfer.recipe.tables import DataTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.train.loop import fit
from xfer.types import DataInfo

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
OPTIONS: dict[str, dict[str, Any]] = {
    "classify": {"dropout": 0.1},
    "detect": {
        "head_width": 24, "rpn_width": 8, "pool_size": 3, "anchor_count": 3, "regions": 16,
        "rpn_batch": 32, "rpn_train": (100, 40), "rpn_test": (90, 20), "most_boxes": 30,
    },
    "segment": {"width": 16},
    "instance": {
        "head_width": 24, "rpn_width": 8, "pool_size": 3, "anchor_count": 3, "regions": 16,
        "rpn_batch": 32, "rpn_train": (100, 40), "rpn_test": (90, 20), "most_boxes": 10,
        "mask_width": 8, "mask_convs": 1, "levels": ("stride16",),
    },
    "panoptic": {"width": 16},
}  # fmt: skip


def trained(task: str, out: Path, backbone: str = "", **options: Any) -> Path:
    """A run of a few steps on digits."""
    net = backbone or ("tiny_nets:tailed" if task == "classify" else "tiny_nets:tiny")
    recipe = Recipe(
        name="test", task=task, backbone=net, weights="none",
        task_options={**OPTIONS[task], **options},
        data=DataTable(source="digits", batch=8, size=32 if task == "classify" else 64, limit=16,
                       workers=1, crop_area=(1.0, 1.0)),
        optim=OptimTable(name="sgd", lr=1e-2, head_scale=1.0), schedule=ScheduleTable(epochs=1),
        run=RunTable(precision="fp32", plots=False),
    )  # fmt: skip
    fit(recipe, out, verbosity=-1)
    return out


Made = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """task -> its run, and an ONNX file of it, each made once."""
    folder, known = tmp_path_factory.mktemp("exporting"), dict[str, tuple[Path, Path]]()

    def make(task: str) -> tuple[Path, Path]:
        if task not in known:
            run, file = trained(task, folder / task), folder / f"{task}.onnx"
            report = xfer.export(run, out=file)
            assert report["check"]["pictures"] == 16
            # a pixel of an untrained mask may come out either way
            assert report["check"]["difference"] < (
                {"instance": 0.01, "panoptic": 1e-3}.get(task, 1e-4)
            )
            known[task] = (run, file)
        return known[task]

    return make


def picture(folder: Path, height: int, width: int, seed: int = 0) -> Path:
    """A smooth picture, so that scaling it in two ways makes little difference."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    path = folder / f"{height}x{width}.png"
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if isinstance(v, float)}


@pytest.mark.parametrize("task", ["classify", "detect", "segment", "instance", "panoptic"])
def test_a_file_scores_and_predicts_as_its_run(
    made: Made, tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = made(task)
    own = xfer.evaluate(run, precision="fp32")
    assert main(["eval", str(run), "--model", str(file), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["model"] == str(file) and scored["images"] == own["images"]
    assert numbers(scored["metrics"]) == pytest.approx(numbers(own["metrics"]), abs=1e-5)
    # pictures of other sizes than those that it was recorded with, from the file alone
    pictures = [picture(tmp_path, 90, 60), picture(tmp_path, 64, 150)]
    there, here = load_onnx(file).predict(pictures), xfer.load(run).predict(pictures)
    for one, two in zip(here, there, strict=True):
        if task == "classify":
            assert two.scores == pytest.approx(one.scores, abs=1e-5)
        if task == "detect":
            assert len(one.scores) == len(two.scores) > 3
            assert two.scores == pytest.approx(one.scores, abs=1e-5)
            assert two.boxes == pytest.approx(one.boxes, abs=1e-3)
        if task == "instance":
            pairs = zip(one.masks, two.masks, strict=True)
            assert all((a.pixels() != b.pixels()).mean() < 1e-3 for a, b in pairs)
        if task == "panoptic":
            assert len(two.segments) == len(one.segments) > 0
            assert (two.segments.map != one.segments.map).mean() < 1e-3
        if task == "segment":
            assert two.mask.shape == one.mask.shape and (two.mask != one.mask).mean() < 1e-3


@pytest.mark.parametrize("task", ["classify", "detect", "segment", "instance", "panoptic"])
def test_the_script_beside_a_file_needs_neither_torch_nor_xfer(
    made: Made, tmp_path: Path, task: str
) -> None:
    run, file = made(task)
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown on its side
    picture_of = Image.open(picture(tmp_path, 90, 200))
    picture_of.save(turned, exif=exif, quality=95)
    plain = picture(tmp_path, 70, 50)
    blocked = (
        "import sys, runpy; sys.modules.update(torch=None, xfer=None, torchvision=None); "
        "sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    script = file.with_suffix(".py")
    words = [sys.executable, "-c", blocked, str(script), str(turned), "lacking.jpg", str(plain)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 3 and "lacking.jpg" in ran.stderr, ran.stderr
    lines = ran.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(turned), str(plain)]
    # the numbers behind the lines
    parts = runpy.run_path(str(script))
    session, about = parts["open_model"]()
    for path, wanted in zip((turned, plain), xfer.load(run).predict([turned, plain]), strict=True):
        image = parts["read_picture"](path)
        if task == "classify":
            found = parts["probabilities"](session, about, image)
            assert found == pytest.approx(wanted.scores, abs=2e-3)
        elif task == "detect":
            boxes, scores, labels = parts["boxes_of"](session, about, image, str(path))
            count = min(3, len(scores))
            assert len(scores) == pytest.approx(len(wanted.scores), abs=2) and boxes.max() > 1
            assert scores[:count] == pytest.approx(wanted.scores[:count], abs=2e-3)
            assert set(labels) <= set(range(10))
        elif task == "instance":
            boxes, scores, _, masks = parts["objects_of"](session, about, image, str(path))
            assert scores[0] == pytest.approx(wanted.scores[0], abs=2e-3)
            pixels = parts["pixels_of"](boxes[0], masks[0], *image.shape[:2])
            assert (pixels != wanted.masks[0].pixels()).mean() < 0.05
        elif task == "panoptic":
            segments, labels, sure = parts["segments_of"](session, about, image)
            assert labels == wanted.segments.labels.tolist()
            assert (segments != wanted.segments.map).mean() < 0.02
            assert sure == pytest.approx(wanted.scores.tolist(), abs=5e-3)
        else:
            mask = parts["mask_of"](session, about, image)
            assert mask.shape == wanted.mask.shape == image.shape[:2]
            assert (mask != wanted.mask).mean() < 0.02


def test_metadata_say_what_a_reader_must_know(made: Made) -> None:
    _, file = made("classify")
    about = OnnxRunner(file).about
    assert about["classes"] == [str(n) for n in range(10)] and about["task"] == "classify"
    assert about["metric"]["name"] == "top1" and 0 <= about["metric"]["value"] <= 1
    own = about["preprocessing"]
    assert (own["how"], own["size"], own["channels"]) == ("crop", 32, "rgb")
    assert len(own["mean"]) == 3 and not own["inside"]
    assert about["protocol"] and about["inputs"] == ["images"] and about["outputs"] == ["logits"]


def test_batches_uint8_and_full_size_maps_by_choice(made: Made, tmp_path: Path) -> None:
    run, _ = made("segment")
    file = tmp_path / "whole.onnx"
    report = xfer.export(run, out=file, dynamic="batch", with_preprocessing=True, full_size=True)
    assert report["inputs"] == ["images", "sizes", "originals"] and report["outputs"] == ["masks"]
    assert report["check"]["difference"] < 1e-3
    runner = OnnxRunner(file)
    sizes = torch.tensor([[64, 64], [40, 60], [64, 33]])
    images = torch.randint(0, 256, (3, 3, 128, 128), dtype=torch.uint8)
    (masks,) = runner(images, sizes, 2 * sizes)
    assert masks.shape == (3, 128, 128) and masks.dtype == torch.uint8
    own = xfer.evaluate(run, precision="fp32")["metrics"]
    through = xfer.evaluate(run, model=file)["metrics"]
    assert numbers(through) == pytest.approx(numbers(own), abs=0.05)  # padded to 128 px
    parts = runpy.run_path(str(file.with_suffix(".py")))
    path = picture(tmp_path, 90, 60)
    mask = parts["mask_of"](*parts["open_model"](), parts["read_picture"](path))
    assert (mask != xfer.load(run).predict([path])[0].mask).mean() < 0.02


def test_a_detector_of_one_size_and_of_many_pictures_in_torch(made: Made, tmp_path: Path) -> None:
    run, _ = made("detect")
    report = xfer.export(run, format="torch", dynamic="batch", out=tmp_path / "d.pt2", bench=True)
    assert report["check"]["difference"] < 1e-4 and report["dynamic"] == ["batch"]
    assert report["bench"]["torch_ms"] > 0 and report["bench"]["file_ms"] > 0
    assert not (tmp_path / "d.py").exists()


@pytest.mark.parametrize("detector", ["fcos", "retina", "ssd"])
def test_a_single_stage_detector_of_any_size(detector: str, tmp_path: Path) -> None:
    given = {"detector": detector, "width": 16, "max_stride": 32, "vote": 0.6}
    run, file = trained("detect", tmp_path / "run", **given), tmp_path / "d.onnx"
    report = xfer.export(run, out=file, dynamic="batch,size")
    assert report["check"]["difference"] < 1e-3
    scored = xfer.evaluate(run, model=file, data="digits")
    assert scored["metrics"]["coco_ap"] == pytest.approx(
        xfer.evaluate(run)["metrics"]["coco_ap"], abs=1e-3
    )


def test_int8_is_scored_before_and_after(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, plain = made("classify")
    file = tmp_path / "small.onnx"
    assert main(["export", str(run), "--int8", "--softmax", "-o", str(file), "--bench"]) == 0
    said = capsys.readouterr().out
    assert "calibrated on 16 training pictures; top1 on 16 pictures of val" in said
    assert "ms in the file" in said
    nodes = file.read_bytes().count(b"QuantizeLinear")
    assert nodes and not plain.read_bytes().count(b"QuantizeLinear")
    rows = load_onnx(file).predict([picture(tmp_path, 50, 50)])
    assert rows[0].scores.sum() == pytest.approx(1, abs=1e-5)


def test_a_file_that_differs_from_its_run_is_not_written(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = made("classify")
    monkeypatch.setattr(ExportedLabels, "_probabilities", lambda self, x: x.softmax(1) ** 2)
    file = tmp_path / "wrong.onnx"
    assert main(["export", str(run), "-o", str(file)]) == 3
    assert "wrong.onnx was not written: largest difference of a prob" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_can_not_be_is_said_in_a_line(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = made("classify")
    other, _ = made("segment")

    def refused(text: str, *words: str, code: int = 2) -> None:
        assert main([*words]) == code
        error = capsys.readouterr().err
        assert text in error and "Traceback" not in error and len(error.splitlines()) <= 2, error

    export = ("export", str(run))
    refused("unknown format 'onxx'", *export, "--format", "onxx")
    refused("ends in .onnx", *export, "-o", str(tmp_path / "x.pt"))
    refused("--dynamic depth", *export, "--dynamic", "depth")
    refused("reads pictures of 32 px alone", *export, "--dynamic", "size")
    refused("--full-size has no effect", *export, "--full-size")
    refused("--int8 has no effect with --format torch", *export, "--int8", "--format", "torch")
    refused("tiny_nets:tailed is not a net of timm's", *export, "--format", "timm",
            "--trust", "tiny_nets")  # fmt: skip
    refused("is for classifiers", "export", str(other), "--format", "timm")
    (tmp_path / "mine.py").write_text("print('mine')\n")
    refused("is a file of yours", *export, "-o", str(tmp_path / "mine.onnx"))
    refused("of another run", "eval", str(other), "--model", str(file), code=3)
    refused("sees one view", "eval", str(run), "--model", str(file), "--tta", "flip")
    refused("scored on the CPU", "eval", str(run), "--model", str(file), "--device", "mps")
    refused("computes as it was made", "eval", str(run), "--model", str(file), "--precision",
            "bf16")  # fmt: skip
    (tmp_path / "no.onnx").write_bytes(b"nothing of the kind")
    refused("not an ONNX file", "eval", str(run), "--model", str(tmp_path / "no.onnx"), code=3)
    refused("no such file", "eval", str(run), "--model", str(tmp_path / "nix.onnx"), code=3)
    with pytest.raises(DataError, match="not written by xfer export"):
        from_text("x.onnx", {"classes": "[]"})
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else real(name)
    )
    refused("ONNX files need onnxscript", *export)


def test_the_two_suppressions_are_torchvisions(made: Made) -> None:
    corners = torch.rand(3, 80, 4) * 50
    corners[..., 2:] += corners[..., :2] + 4
    scores = torch.rand(3, 80).clamp(min=0.3) - 0.3  # some of exactly 0
    one, two = (kept(corners, scores, 0.4, for_onnx) for for_onnx in (True, False))
    assert torch.equal(one, two) and 0 < int(one.sum()) < int((scores > 0).sum())
    assert not one[scores == 0].any()


@pytest.mark.parametrize(
    ("library", "name", "options"),
    [
        ("torchvision", "resnet18", {"norm": False}),
        ("timm", "timm:convnext_atto", {"norm": True}),
    ],
)
def test_their_own_nets_take_the_weights_back(
    tmp_path: Path, library: str, name: str, options: dict[str, Any]
) -> None:
    import timm
    import torchvision
    from safetensors.torch import load_file

    run = trained("classify", tmp_path / "run", name, **options)
    file = tmp_path / "theirs.safetensors"
    report = xfer.export(run, format=library, out=file)
    bare = name.rpartition(":")[2]
    if library == "timm":
        net: Any = timm.create_model(bare, num_classes=10, checkpoint_path=str(file))
    else:
        net = torchvision.models.get_model(bare, num_classes=10)
        net.load_state_dict(load_file(file))
    task = xfer.load(run).task
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert net.eval()(images) == pytest.approx(task.logits(images), abs=1e-4)  # pyright: ignore[reportCallIssue]
    assert "create_model" in report["load"] or "load_state_dict" in report["load"]


def test_a_head_of_our_own_is_not_theirs(tmp_path: Path) -> None:
    run = trained("classify", tmp_path / "run", "resnet18")
    with pytest.raises(XferError, match="another head than this run's"):
        xfer.export(run, format="torchvision", out=tmp_path / "x.safetensors")


def test_a_task_without_a_net_to_export_says_so(made: Made) -> None:
    task = xfer.load(made("classify")[0]).task
    with pytest.raises(XferError, match="the task Conv2d can't be exported"):
        exportable(torch.nn.Conv2d(1, 1, 1), Choices())
    assert type(exportable(task, Choices())).__name__ == "ExportedLabels"


def test_a_detector_with_soft_suppression_is_refused() -> None:
    kind = tasks.get("detect")
    options = tasks.make_options(kind, {"detector": "fcos", "width": 8, "nms_kind": "gaussian"})
    task = kind(tiny(), DataInfo("x", "detect", ("a", "b")), options, DataTable(size=64))
    with pytest.raises(XferError, match="no file has soft-NMS"):
        exportable(task.eval(), Choices())
