"""Several heads on one trunk: losses as of the tasks alone, truths that belong together, runs."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_nets import tiny

import xfer
from xfer import task as tasks
from xfer.boxes import Boxes
from xfer.cli.app import main
from xfer.data.loading.loader import Loader
from xfer.data.open import open_data
from xfer.data.sources.base import Bundle
from xfer.data.transforms.boxes import BoxTransform
from xfer.data.transforms.masks import MaskTransform
from xfer.errors import DataError, XferError
from xfer.heads.batches import of_head
from xfer.recipe.choose import build_recipe
from xfer.recipe.tables import DataTable, EvalTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.recipe.toml import dump, load_recipe
from xfer.runs import checkpoint
from xfer.runs.folder import Run
from xfer.testing import check_source
from xfer.testing.mask_scenes import joint_scenes
from xfer.train.job import Job
from xfer.train.loop import fit
from xfer.types import Sample

MULTI = tasks.get("multi")
TINY = Recipe(
    name="test", task="multi", backbone="tiny_nets:tiny", weights="none",
    task_options={"segment.crop": 64, "segment.width": 16, "classify.dropout": 0.0,
                  "classify.weight": 0.5},
    data=DataTable(source="digits", batch=4, size=64, limit=12, workers=1),
    optim=OptimTable(name="sgd", lr=1e-2, head_scale=1.0, ema=0.5, clip=5.0, accumulate=2),
    schedule=ScheduleTable(epochs=2), eval=EvalTable(tta="flip"),
    run=RunTable(precision="fp32", plots=False, report=False),
)  # fmt: skip


def build(source: Any, net: Any, values: dict[str, Any] | None = None, size: int = 64) -> Any:
    options = tasks.make_options(MULTI, {"segment.crop": size, **(values or {})})
    task = MULTI(net, source.info, options, DataTable(size=size))
    info = source.info
    task.fit_data(Bundle("scenes", "test", info.kind, info.classes, {"train": source}))
    return task


def batch_of(task: Any, source: Any, train: bool) -> Any:
    loader = Loader(source, task.transform(train), task.collate, batch=4, train=train)
    return next(loader.batches(0))


@pytest.mark.parametrize("name", ["tiny", "timm:mobilenetv3_small_050"])
def test_losses_are_the_weighted_ones_of_the_tasks_alone_from_one_pass(name: str) -> None:
    source = joint_scenes(4)
    net = tiny() if name == "tiny" else xfer.create_backbone(name)
    plain = copy.deepcopy(net)
    task = build(source, net, {"classify.weight": 0.5, "classify.head": "avg"}).eval()
    batch = batch_of(task, source, True)
    passes: list[int] = []
    task.backbone.register_forward_hook(lambda *_: passes.append(1))
    losses = task(batch)
    torch.stack(list(losses.values())).sum().backward()
    assert len(passes) == 1
    first = next(p for p in task.backbone.parameters() if p.grad is not None)
    place = [p is first for p in task.backbone.parameters()].index(True)
    expected: dict[str, Any] = {}
    grad: Any = torch.zeros_like(first)
    for head, weight in (("classify", 0.5), ("segment", 1.0)):
        inner = task.heads[head]
        trunk = copy.deepcopy(plain)
        alone = tasks.get(head)(trunk, inner.info, task.options.own[head], inner.data)
        state = {k.removeprefix(f"heads.{head}."): v for k, v in task.state_dict().items()
                 if k.startswith((f"heads.{head}.", "backbone."))}  # fmt: skip
        assert not alone.load_state_dict(state, strict=False).missing_keys
        alone.eval()
        own = alone(of_head(batch, head))
        (weight * torch.stack(list(own.values())).sum()).backward()
        expected |= {f"{head}.{key}": weight * value for key, value in own.items()}
        grad += next(p for n, p in enumerate(trunk.parameters()) if n == place).grad
    assert losses.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.allclose(losses[key], value, rtol=1e-5), key
    assert torch.allclose(first.grad, grad, rtol=1e-3, atol=1e-6)


def test_heads_predict_as_alone_whatever_is_padded_beside_a_picture() -> None:
    source = joint_scenes(3, step=16)
    task = build(source, tiny()).eval()
    together = task.predict(batch_of(task, source, False))
    for i in range(3):
        alone = task.predict(task.collate([task.transform(False)(source[i], None)]))[0]
        label, mask = together[i].parts
        assert np.allclose(label.scores, alone.parts[0].scores, atol=1e-6)
        assert (mask.mask == alone.parts[1].mask).all()


def test_boxes_follow_where_masks_are_cut_and_masks_where_boxes_are() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((60, 90), np.uint8)
    mask[20:44, 33:61] = 1
    image = np.repeat(mask[:, :, None] * 255, 3, 2)
    sample = Sample("x", image, boxes=Boxes.of([[33, 20, 61, 44]], [0]), mask=mask)
    masks = MaskTransform(60, crop=64, scales=(0.7, 1.4), augment="light")
    boxes = BoxTransform(60, 120, train=True, area=(0.6, 1.0), scales=(0.7, 1.4), augment="light")
    mirrored = 0
    for _ in range(20):
        for one, other in ((masks, boxes), (boxes, masks)):
            shown: Any = one(sample, rng)
            moved: Any = other.follow(sample, shown.cut)
            mirrored += shown.cut.mirrored
            found = (shown, moved) if one is boxes else (moved, shown)
            seen = cv2.boundingRect((found[1].mask == 1).astype(np.uint8))
            if not len(found[0].boxes):  # less than half of it is shown
                continue
            x1, y1, x2, y2 = found[0].boxes[0].tolist()
            assert np.allclose((x1, y1, x2, y2), (seen[0], seen[1], seen[0] + seen[2],
                                                  seen[1] + seen[3]), atol=1.5)  # fmt: skip
            height, width = shown.cut.size
            white = shown.image[:height, :width, 0] > 127
            assert (white == (found[1].mask[:height, :width] == 1)).mean() > 0.97
    assert 0 < mirrored < 40


# --- data


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """images/CLASS/n.png with masks/CLASS/n.png, and labels.csv, which lacks one of them."""
    rng, rows = np.random.default_rng(0), ["path,label"]
    for n in range(12):
        name = f"{'cats' if n % 2 else 'dogs'}/{n}.png"
        for folder in ("images", "masks"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 56, 3), np.uint8)).save(
            tmp_path / "images" / name
        )
        drawn = np.zeros((40, 56), np.uint8)
        drawn[5:20, 8:30] = 1 + n % 2
        Image.fromarray(drawn).save(tmp_path / "masks" / name)
        if n != 3:
            rows.append(f"images/{name},{'indoor' if n < 6 else 'outdoor'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


KINDS = ("classify+segment", "multilabel+segment")


def test_labels_of_a_folder_or_a_table_join_the_masks_of_the_same_files(photos: Path) -> None:
    for also, names in ((f"folder:{photos / 'images'}", ("cats", "dogs")),
                        (f"{photos / 'labels.csv'}", ("indoor", "outdoor"))):  # fmt: skip
        bundle = open_data(f"masks:{photos}", kind=KINDS, also=also, seed=1, find=False)
        assert [c for c in bundle.classes if c.startswith("classify.")] == [
            f"classify.{name}" for name in names
        ]
        train, val = bundle.splits["train"], bundle.splits["val"]
        assert len(train) + len(val) == 12 - also.endswith("csv") and len(val) >= 2
        check_source(train)
        for sample in (train[0], val[0]):
            number = int(Path(sample.id).stem)
            said = names[sample.label]
            expected = ("cats" if number % 2 else "dogs") if names[0] == "cats" else (
                "indoor" if number < 6 else "outdoor")  # fmt: skip
            assert said == expected and sample.mask is not None
        told = [note for note in bundle.notes if "left out" in note]
        assert len(told) == also.endswith("csv") and all("3.png" in note for note in told)


def test_what_is_missing_beside_what_is_there_is_named(photos: Path) -> None:
    with pytest.raises(DataError, match="the heads need one label per picture"):
        open_data(f"masks:{photos}", kind=KINDS)
    with pytest.raises(XferError, match="only a task with several heads reads it"):
        open_data(f"masks:{photos}", also="digits")
    with pytest.raises(XferError, match="nothing is read from it"):
        open_data(f"masks:{photos}", kind=KINDS, also="digits")
    with pytest.raises(XferError, match="it has none of"):
        open_data("digits", kind=KINDS, also=f"masks:{photos},images:{photos / 'images'}")
    (photos / "others").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(photos / "others" / f"{name}.png")
    (photos / "others" / "labels.csv").write_text("path,label\na.png,x\nb.png,y\n")
    with pytest.raises(DataError, match="no picture has"):
        open_data(f"masks:{photos}", kind=KINDS, also=f"{photos / 'others/labels.csv'}")
    with pytest.raises(XferError, match="none of the heads learns labels"):
        open_data("digits", kind=("segment+detect",), label="tallest")


def test_scenes_of_digits_are_labelled_by_their_tallest() -> None:
    bundle = open_data("digits", kind=("classify+detect",), limit=20, check=False)
    for i in range(len(bundle.splits["train"])):
        sample = bundle.splits["train"][i]
        assert sample.boxes is not None
        heights = sample.boxes.sides[:, 1]
        tallest = sample.boxes.labels[heights == heights.max()]
        assert sample.label in tallest.tolist()
    alone = open_data("digits", kind="classify", label="tallest", limit=20, check=False)
    one, both = alone.splits["train"], bundle.splits["train"]
    assert (one.labels() == both.parts["classify"].labels()).all()  # pyright: ignore
    with pytest.raises(XferError, match="no such label"):
        open_data("digits", kind="classify", label="size")


def test_a_run_on_joined_files_is_scored_from_anywhere(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder that is read as a table and as masks, and a table beside a folder."""
    runs = tmp_path_factory.mktemp("runs")
    for number, (spec, also) in enumerate(((".", ""), ("masks:.", "labels.csv"))):
        monkeypatch.chdir(photos)
        data = replace(TINY.data, source=spec, also=also, limit=0)
        one = replace(TINY, data=data, schedule=ScheduleTable(steps=1))
        fit(one, runs / str(number), verbosity=-1)
        monkeypatch.chdir(runs)
        kept = json.loads((runs / str(number) / "result.json").read_text())["metrics"]
        again = xfer.evaluate(runs / str(number))
        assert again["metrics"]["mean"] == pytest.approx(kept["mean"], abs=1e-6)


# --- options


@pytest.mark.parametrize(("values", "words"), [
    ({"heads": ("classify",)}, "two heads or more"),
    ({"heads": "classify,multi"}, "can't be a head"),
    ({"heads": "seg,segment"}, "names segment twice"),
    ({"heads": "classify,sgment"}, "did you mean segment"),
    ({"detect.weight": 2.0}, "unknown key task.detect.weight"),
    ({"segment.dropuot": 0.1}, "did you mean segment.dropout"),
    ({"classify.weight": -1.0}, "at least 0"),
    ({"classify.weight": 0.0, "segment.weight": 0.0}, "nothing to learn"),
    ({"primary": "detect"}, "not one of the heads"),
])  # fmt: skip
def test_options_that_fit_no_head_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(XferError) as error:
        tasks.make_options(MULTI, values)
    assert words in f"{error.value.message} {error.value.hint}"


def test_a_head_that_follows_has_no_say_in_how_pictures_are_cut() -> None:
    with pytest.raises(XferError, match="all heads see the pictures that segment cuts"):
        build(joint_scenes(2), tiny(), {"classify.mixup": 0.2})


def test_recipes_hold_a_table_for_each_head_and_other_heads_start_afresh(tmp_path: Path) -> None:
    recipe = build_recipe("digits", "multi", settings={"task.classify.weight": 0.3})
    text = dump(recipe)
    assert "[task.classify]" in text and "[task.segment]" in text
    (tmp_path / "r.toml").write_text(text)
    assert load_recipe(str(tmp_path / "r.toml")).task_options == recipe.task_options
    other = build_recipe("digits", "multi", settings={"task.heads": "det,seg"})
    assert "segment.crop" in other.task_options
    assert not any(key.startswith("classify.") for key in other.task_options)


# --- runs


class Stopped(Exception):
    """Stands for a process that is gone."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("heads") / "run"
    fit(TINY, out, verbosity=-1)
    return out


def test_a_run_scores_every_head_under_its_name(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    scores = result["metrics"]
    assert result["primary"] == "mean"
    mean = (scores["classify.top1"] + scores["segment.miou"]) / 2
    assert scores["mean"] == pytest.approx(mean)
    losses = next(e for e in Run(whole).events() if e["event"] == "train")["losses"]
    assert set(losses) == {"classify.cross_entropy", "segment.cross_entropy"}
    again = xfer.evaluate(whole)
    assert again["metrics"]["mean"] == pytest.approx(scores["mean"], abs=1e-6)


def test_a_run_that_died_resumes_to_equal_bits(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Job.begin_step

    def begin(job: Job) -> float:
        if job.step == 4:
            raise Stopped
        return real(job)

    monkeypatch.setattr(Job, "begin_step", begin)
    recipe = replace(TINY, run=replace(TINY.run, save_minutes=1e-9))
    with pytest.raises(Stopped):
        fit(recipe, tmp_path / "run", verbosity=-1)
    monkeypatch.setattr(Job, "begin_step", real)
    fit(resume=tmp_path / "run", verbosity=-1)
    one, two = (
        checkpoint.load_weights(run / "best.safetensors") for run in (whole, tmp_path / "run")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_predictions_hold_each_heads_and_are_drawn_together(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (70, 110, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    words = ["predict", str(whole), str(tmp_path / "a.png"), "--trust", "tiny_nets"]
    assert main([*words, "--json", "--draw", str(tmp_path / "drawn")]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert set(row) == {"id", "classify", "segment"} and "label" in row["classify"]
    with Image.open(tmp_path / "drawn/a_mask.png") as mask:
        assert mask.size == (110, 70)
    with Image.open(tmp_path / "drawn/a.png") as drawn:
        assert drawn.height > 70
    assert main([*words, "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("kind,id") and {line.partition(",")[0] for line in lines[1:]} == {
        "classify", "segment"
    }  # fmt: skip
    assert main([*words, "--format", "coco"]) == 2


def test_a_run_with_several_heads_says_what_it_cannot_be(whole: Path, tmp_path: Path) -> None:
    model = xfer.load(whole)
    with pytest.raises(XferError, match="several heads"):
        xfer.export(whole, out=tmp_path / "x.onnx")
    with pytest.raises(XferError, match="explain"):
        model.explain(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(XferError, match="classifiers alone"):
        model.predict(np.zeros((64, 64, 3), np.uint8), calibrated=True)
