"""What a notebook shows: one display of a training, objects that show themselves, signatures."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import xfer
from xfer import api
from xfer.drawing import mosaic as mosaics
from xfer.errors import DataError, XferError
from xfer.extraction.extract import extract
from xfer.extraction.net import Choice
from xfer.kinds.base import KINDS
from xfer.metrics.example import Mark
from xfer.notebook.card import card, grid
from xfer.notebook.course import epochs
from xfer.notebook.kernel import in_notebook
from xfer.notebook.results import NetsCompared, ProbeResult, RunsCompared
from xfer.recipe.choose import build_recipe
from xfer.recipe.tables import DataTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.report import shots
from xfer.train.loop import Summary, fit
from xfer.train.notebook import NotebookProgress, progress
from xfer.train.signals import Interrupted
from xfer.types import BoxPrediction, ClassPrediction, MaskPrediction

TINY = Recipe(
    name="test",
    backbone="tiny_nets:tiny",
    weights="none",
    task_options={"head": "flat"},
    data=DataTable(source="digits", batch=32, augment="light", flip=False, limit=64, workers=1),
    optim=OptimTable(lr=1e-2, head_scale=1.0),
    schedule=ScheduleTable(epochs=2),
    run=RunTable(precision="fp32", plots=False, report=False),
)
VALUES: dict[str, Any] = {
    "backbone": "zfnet", "weights": "none", "epochs": 3.0, "batch": 16, "lr": 1e-3,
    "weight_decay": 0.1, "optimizer": "sgd", "schedule": "linear", "warmup": 1.0, "freeze": "all",
    "freeze_epochs": 1.0, "layer_decay": 0.9, "train": "a", "val": "none", "test": "none",
    "limit": 50, "workers": 0, "tta": "flip", "skip_bad": True, "verify": False, "seed": 7,
    "device": "cpu", "precision": "fp32",
}  # fmt: skip


class Screen:
    """Stands for IPython: what cells display, and how often each display was updated."""

    def __init__(self) -> None:
        self.shown: list[list[dict[str, str]]] = []

    def display(self, content: dict[str, str], raw: bool, display_id: bool) -> Any:
        assert raw and display_id
        updates = [content]
        self.shown.append(updates)
        return SimpleNamespace(update=lambda content, raw: updates.append(content))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    fake = Screen()
    module: Any = ModuleType("IPython")
    module.get_ipython = lambda: SimpleNamespace(kernel=object())
    module.display = SimpleNamespace(display=fake.display)
    monkeypatch.setitem(sys.modules, "IPython", module)
    return fake


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Summary]:
    yield fit(TINY, tmp_path_factory.mktemp("notebook") / "run", verbosity=-1,
              trust="tiny_nets")  # fmt: skip


def html_of(shown: Any) -> str:
    """What a notebook would show, after checking that it is one card, and `repr` short."""
    html = shown._repr_html_()
    assert html.startswith('<div class="xfer">') and html.endswith("</div>")
    assert html.count("<div") == html.count("</div>")
    assert 0 < len(repr(shown)) < 1500
    return html


@pytest.mark.parametrize("function", [xfer.finetune, xfer.pretrain])
def test_every_flag_is_an_argument(function: Any) -> None:
    parameters = inspect.signature(function).parameters
    assert set(api._KEYS) <= set(parameters)
    assert all(parameters[name].annotation not in ("Any", inspect.Parameter.empty)
               for name in api._KEYS)  # fmt: skip


@pytest.mark.parametrize(
    ("function", "first"),
    [(xfer.finetune, ["data", "task", "backbone"]), (xfer.pretrain, ["name", "data"]),
     (xfer.features, ["data", "backbone", "layer"]), (xfer.probe, ["file", "clf"]),
     (xfer.evaluate, ["run", "data"]), (xfer.predict, ["run", "paths"]), (xfer.show, ["data"])],
)  # fmt: skip
def test_signatures_begin_with_what_is_given_first(function: Any, first: list[str]) -> None:
    parameters = inspect.signature(function).parameters
    assert list(parameters)[: len(first)] == first
    assert all(p.kind is not p.VAR_POSITIONAL for p in parameters.values())


def given_to_fit(
    monkeypatch: pytest.MonkeyPatch, function: Any, *args: Any, **named: Any
) -> Recipe:
    seen: list[Recipe] = []

    def instead(recipe: Recipe, *_: Any, **__: Any) -> Summary:
        seen.append(recipe)
        return Summary(Path(), {})

    monkeypatch.setattr(api, "fit", instead)
    function(*args, **named)
    return seen[0]


def test_arguments_reach_the_recipe_as_flags_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(VALUES) == set(api.FLAGS)
    asked = {**VALUES, "optim__ema": 0.5}
    own = given_to_fit(monkeypatch, xfer.finetune, "digits", "classify", size=96, **asked)
    flags = build_recipe("digits", "classify", "", {**asked, "data.size": 96})
    assert own == flags and own.given == flags.given
    assert own.data.size == 96 and own.optim.freeze == "all" and own.optim.ema == 0.5


def test_arguments_that_are_left_out_leave_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    own = given_to_fit(monkeypatch, xfer.finetune, "digits", "classify")
    assert own == build_recipe("digits", "classify") and not own.given
    # an empty stage is a value of its own: it undoes a recipe's freezing
    assert "optim.freeze" in given_to_fit(
        monkeypatch, xfer.finetune, "digits", "classify", freeze="").given  # fmt: skip
    folder = given_to_fit(monkeypatch, xfer.finetune, "digits", "classify", weights=Path("none"))
    assert folder.weights == "none"
    pre = given_to_fit(monkeypatch, xfer.pretrain, "imagenet-2012", "digits", epochs=2)
    assert pre.schedule.epochs == 2


def test_resume_takes_no_settings() -> None:
    with pytest.raises(XferError, match="the run's own recipe"):
        xfer.finetune(resume="runs/a", epochs=3)


def test_a_script_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    terminal: Any = ModuleType("IPython")
    terminal.get_ipython = lambda: SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert not in_notebook()
    assert not isinstance(progress(0), NotebookProgress)


def test_training_is_one_display(
    screen: Screen, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = replace(TINY, data=replace(TINY.data, limit=40))
    made = fit(recipe, tmp_path / "run", trust="tiny_nets")
    (updates,) = screen.shown
    assert "preparing" in updates[0]["text/html"]
    last = updates[-1]
    assert f"{made.result['metrics']['top1']:.4f}" in last["text/html"]
    assert made.result["interval"]["method"] in last["text/html"]
    assert last["text/html"].count("<svg") == 2 and last["text/html"].count("<tr") == 3
    assert (
        "Data, weights, device" in last["text/html"] and "randomly initialised" in last["text/html"]
    )
    assert last["text/plain"] == repr(made) and len(last["text/plain"]) < 1500
    assert capfd.readouterr() == ("", "")


def test_a_quiet_training_shows_nothing(screen: Screen) -> None:
    assert not isinstance(progress(-1), NotebookProgress)
    assert isinstance(progress(0), NotebookProgress)


def test_an_interrupt_says_how_to_go_on_in_python(screen: Screen) -> None:
    show = NotebookProgress()
    job: Any = SimpleNamespace(step=5, steps=20, epoch_steps=5)
    with pytest.raises(Interrupted) as caught, show.training(job):
        raise Interrupted(Path("runs/a<b>"))
    html = screen.shown[0][-1]["text/html"]
    assert "interrupted at epoch 1.0 of 4" in html
    assert "xfer.finetune(resume=&quot;runs/a&lt;b&gt;&quot;)" in html
    (line,) = caught.value._render_traceback_()
    assert "xfer.finetune(resume='runs/a<b>')" in line and "--resume" not in line
    with pytest.raises(DataError), show.training(job):
        raise DataError("a.jpg: gone", "put it back")
    assert "stopped at epoch 1.0 of 4" in screen.shown[0][-1]["text/html"]
    assert DataError("a", "--skip-bad")._render_traceback_() == ["DataError: a\n  skip_bad=True"]


def test_a_run_shows_itself(run: Summary, monkeypatch: pytest.MonkeyPatch) -> None:
    html = html_of(run)
    assert f"{run.result['metrics']['top1']:.4f}" in html and "kept" in html
    history = run.history
    assert set(history["event"]) == {"train", "eval"}
    assert history["val_top1"].max() == run.result["metrics"]["top1"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    rows = run.history
    assert isinstance(rows, list) and len(rows) == len(history) and "val_top1" in rows[-1]
    assert "dry run" in html_of(Summary(Path(), {}))
    with pytest.raises(XferError, match="dry run keeps nothing"):
        Summary(Path(), {}).report()


def test_errors_are_the_worst_pictures(run: Summary) -> None:
    errors = run.errors(5)
    losses = [one.loss for one in errors]
    assert len(errors) == 5 and losses == sorted(losses, reverse=True)
    assert not any(one.good for one in errors)
    assert all(row["id"].startswith("digit-") for row in errors.rows())
    html = html_of(errors)
    assert html.count("data:image/png") == 5 and "✗" in html


def test_errors_of_a_run_on_data_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (40, 8, 8, 3), np.uint8)
    data = (pictures, np.arange(40) % 2)
    recipe = replace(TINY, data=replace(TINY.data, source="python:arrays", limit=0),
                     schedule=ScheduleTable(epochs=1))  # fmt: skip
    made = fit(recipe, tmp_path / "run", data=data, verbosity=-1, trust="tiny_nets")
    assert len(made.errors(3)) == 3
    with pytest.raises(XferError, match=r"passed in Python|memory"):
        Summary(made.path, made.result, made.trust).errors()


def test_models_scores_and_predictions_show_themselves(run: Summary, tmp_path: Path) -> None:
    model = xfer.load(run.path, trust="tiny_nets")
    assert "10 classes" in html_of(model)
    scores = xfer.evaluate(run.path, trust="tiny_nets")
    assert isinstance(scores, dict) and scores["metrics"]["top1"] == run.result["metrics"]["top1"]
    assert "10 classes" in html_of(scores)
    file = tmp_path / "<b>.png"
    Image.new("RGB", (9, 9), "red").save(file)
    predictions = model.predict([file] * 30)
    html = html_of(predictions)
    assert html.count("<img") == 24 and "and 6 more" in html
    assert "<b>" not in html and "&lt;b&gt;.png" in html
    file.unlink()
    assert "not shown" in html_of(predictions)


def test_features_show_themselves() -> None:
    choice = Choice("tiny_nets:tiny", "none", ("conv2",), pool="avg")
    with xfer.plugs.naming("tiny_nets:tiny"):
        extraction = extract("digits", choice=choice, limit=20, cache=False)
    count = extraction.computed
    assert f"Features of {count} pictures" in html_of(extraction)
    html = html_of(extraction.features)
    assert f"Features of {count} pictures" in html and "conv2" in html and "16 numbers" in html


def test_results_show_themselves() -> None:
    evil = "<script>x</script>"
    metrics = {"top1": 0.5, "loss": 1.0, "per_class": {evil: {"acc": 0.5, "n": 3}}}
    probe = ProbeResult({"task": "probe", "backbone": "alexnet", "data": evil, "clf": "logreg",
                         "layer": "fc7", "primary": "top1", "metrics": metrics, "run": evil,
                         "chosen": {"scaling": "l2", "C": 0.1}, "protocol": {"a": evil},
                         "shots": [{"shots": 1, "top1": 0.3, "values": [0.3]}]})  # fmt: skip
    row = {"backbone": evil, "layer": "fc7", "top1": 0.5}
    nets = NetsCompared({"rows": [row], "best": row, "primary": "top1", "data": "d",
                         "commands": ["xfer probe"]})  # fmt: skip
    runs = RunsCompared({"runs": [evil, evil], "val": {"top1": [0.1, 0.2]}, "notes": ["warning: n"],
                         "paired": {"val": [{"line": evil}]}})  # fmt: skip
    for result in (probe, nets, runs):
        html = html_of(result)
        assert "<script" not in html and "&lt;script&gt;" in html
    assert runs == {**runs} and probe["clf"] == "logreg"


def test_data_show_themselves() -> None:
    sheet = xfer.show("digits", n=4, split="val", classes="3")
    html = html_of(sheet)
    assert html.count("<img") == 4 and html.count(">3</span>") == 4
    assert all(
        int(sample.label) == 3 for sample in sheet.samples() if not isinstance(sample, DataError)
    )
    assert "one label per picture" in html_of(sheet.bundle)
    with pytest.raises(XferError, match="no split 'x'"):
        xfer.show("digits", split="x")
    with pytest.raises(XferError, match="no class 'x'"):
        xfer.show("digits", classes=["x"])
    with pytest.raises(XferError, match="from 1 to 24"):
        xfer.show("digits", n=100)


def test_pictures_that_can_not_be_read_are_named(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (80, 60), "green").save(tmp_path / name / f"{i}.png")
    (tmp_path / "a" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    html = html_of(xfer.show(tmp_path))
    assert html.count("<img") == 5 and html.count("not shown") == 1
    assert xfer.show(tmp_path).save(tmp_path / "sheet.png").is_file()


def test_findings_show_themselves(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (80, 60), "green").save(tmp_path / name / f"<i>{i}.png")
    report = xfer.check_data(tmp_path, weights="none")
    html = html_of(report)
    assert "<i>" not in html and "findings" in html


def test_every_kind_pictures_its_predictions() -> None:
    image, classes = np.full((60, 90, 3), 90, np.uint8), ("cat", "dog")
    boxes = BoxPrediction("a", np.array([[9, 9, 40, 40]], np.float32), np.array([0.9], np.float32),
                          np.array([1]), (60, 90))  # fmt: skip
    mask = MaskPrediction("a", np.tile(np.arange(90) // 45, (60, 1)).astype(np.uint8), (60, 90))
    label = ClassPrediction("a", np.array([0.3, 0.7], np.float32))
    for name, prediction, words in (
        ("detect", boxes, "1 dog"), ("segment", mask, "cat 50 %, dog 50 %"),
        ("classify", label, "dog 0.70, cat 0.30"), ("multilabel", label, "dog 0.70"),
    ):  # fmt: skip
        kind = KINDS.get(name)
        assert kind.phrase(prediction, classes) == words
        drawn = kind.pictured_prediction(image, prediction, classes, 180)
        assert drawn.dtype == np.uint8 and max(drawn.shape[:2]) <= 180
        assert (name in ("detect", "segment")) == (len(np.unique(drawn.reshape(-1, 3), axis=0)) > 1)
    assert [name for name, _ in KINDS.get("segment").legend(classes)] == list(classes)


def test_tables_keep_the_best_row_and_say_what_is_left_out() -> None:
    evals = [{"step": i, "epoch": i, "metrics": {"top1": i / 100}} for i in range(1, 41)]
    html = epochs([], evals, "top1", best=2)
    assert html is not None and html.count("<tr") == 14 and "left out" in html
    assert re.search(r'<tr class="best"><td class="n">2</td>', html)
    assert "and 70 more" in grid([{"a": i} for i in range(100)])
    assert "&lt;b&gt;" in card("<b>")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_grids_name_files_and_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(mosaics, "save", lambda figure, path: kept.append(figure))
    image = np.zeros((300, 400, 3), np.uint8)
    few = (Mark((10, 10, 90, 90), "wrong", "cat 0.91"), Mark((200, 150, 390, 290), "right", "dog"))
    crowd = tuple(
        Mark((x, y, x + 20, y + 20), "right", "hen") for x in range(0, 380, 100)
        for y in range(30, 280, 50)
    )  # fmt: skip
    tiles = [mosaics.Tile(image, ("a",), False, few, "set/one.jpg"),
             mosaics.Tile(image, ("b",), True, crowd, "two.jpg")]  # fmt: skip
    mosaics.mosaic(tiles, tmp_path / "m.png")
    shown = texts(kept[0])
    assert {"set/one.jpg", "two.jpg", "cat 0.91", "dog"} <= set(shown)
    assert 1 < shown.count("hen") <= 7


def test_the_band_that_a_choice_is_made_by_is_shaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(shots, "save", lambda figure, path: kept.append(figure))
    trials = [("none", 0.1, 0.90, 0.5), ("none", 1.0, 0.89, 0.3), ("none", 10.0, 0.5, 0.2)]
    shots.choice_picture(trials, ("none", 1.0), tmp_path / "c.png", symbol="C", score="top1",
                         error=0.02)  # fmt: skip
    above, below = kept[0].axes
    (band,) = above.patches
    low, high = band.get_extents().transformed(above.transData.inverted()).intervaly
    assert (low, high) == pytest.approx((0.88, 0.90))
    near = next(line for line in below.lines if line.get_linestyle() == "None")
    assert list(np.asarray(near.get_ydata())) == [0.5, 0.3]


def test_a_real_kernel_shows_one_display(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    code = (
        "import xfer\n"
        "run = xfer.finetune('digits', epochs=1, limit=40, batch=20, run__plots=False, "
        f"run__report=False, out={str(tmp_path / 'run')!r})",
        "run",
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in code])
    client.NotebookClient(book, timeout=300, kernel_name="python3").execute()
    first, second = (cell.outputs for cell in book.cells)
    (shown,) = [out for out in first if out.output_type == "display_data"]
    assert "top1 on val" in shown["data"]["text/html"] and len(first) <= 2
    assert "text/html" in second[0]["data"] and len(second[0]["data"]["text/plain"]) < 1500
