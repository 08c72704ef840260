"""report.html: complete, offline, escaped, for keyboards and screen readers, within its budget."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xfer import kinds
from xfer.boxes import Boxes
from xfer.cli import main
from xfer.metrics.accuracy import Accuracy
from xfer.metrics.boxes import FoundBoxes, TrueBoxes
from xfer.metrics.detection import DetectionAP
from xfer.metrics.example import Example
from xfer.metrics.miou import MeanIoU
from xfer.metrics.multilabel import MultiLabelAP
from xfer.recipe.tables import DataTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.recipe.toml import dump
from xfer.report import charts, comparison, galleries, markup
from xfer.report.facts import Facts, Live
from xfer.report.page import build, write_report
from xfer.report.thumbnails import Budget, Pictures
from xfer.train import finish
from xfer.train.loop import fit
from xfer.types import DataInfo, Sample

HOSTILE = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>.jpg'
CLASSES = ("ant", "<b>bee</b> & \u202ewasp", "fly")
VOID = {"meta", "img", "br", "hr", "input", "link", "col"}


class Page(HTMLParser):
    """What a page holds: tags with their attributes, and its text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check_page(html: str) -> Page:
    """A page is well formed, loads nothing, and each part of it can be reached and is named."""
    page = Page(html)
    assert not re.search(r"(?:src=|<link[^>]+href=|url\(|@import\s+)[\"']?(?:https?:)?//", html)
    assert "prefers-color-scheme: dark" in html
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == 1
    ids = Counter(a["id"] for _, a in page.tags if a.get("id"))
    assert not [key for key, count in ids.items() if count > 1]
    for _, attributes in page.tags:
        target = attributes.get("href") or ""
        if target.startswith("#"):
            assert target[1:] in ids, target
        assert attributes.get("aria-labelledby", "report") in ids
    assert all(image.get("alt") for image in page.all("img"))
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))  # pyright: ignore[reportOptionalMemberAccess]
    assert all(one.get("aria-label") for one in page.all("svg") if one.get("role") == "img")
    for name in page.all("th"):
        assert name.get("scope") or name.get("class") == "corner"
    return page


class Grey:
    """Grey pictures, one per id."""

    def __init__(self, ids: list[str], size: tuple[int, int] = (80, 100), kind: str = "classify"):
        self.ids, self.size = ids, size
        self.info = DataInfo("grey", kind, CLASSES)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Sample:
        return Sample(self.ids[i], np.full((*self.size, 3), 10 * i % 255, np.uint8))

    def labels(self) -> np.ndarray:
        return np.zeros(len(self), np.int64)

    def fingerprint(self) -> str:
        return "0"


def folder_of(tmp_path: Path, **tables: Any) -> Path:
    """A run folder without anything but its recipe, and what is given as its json files."""
    (tmp_path / "recipe.toml").write_text(dump(Recipe(data=DataTable(source="grey"))))
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    for name, content in tables.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def scored(count: int = 30, classes: tuple[str, ...] = CLASSES) -> tuple[Accuracy, list[str]]:
    rng = np.random.default_rng(1)
    ids = [f"val/{i}-{HOSTILE}" for i in range(count)]
    metric = Accuracy(classes)
    scores = rng.random((count, len(classes)))
    metric.add(scores / scores.sum(1, keepdims=True), rng.integers(0, len(classes), count), ids)
    return metric, ids


def page_of(tmp_path: Path, metric: Any, source: Any, kind: str, **options: Any) -> Page:
    live = Live("val", metric, source, kind=kinds.get(kind), **options)
    result = {"schema": 1, "primary": metric.primary, "metrics": metric.compute(), "task": kind}
    return check_page(build(Facts.of(folder_of(tmp_path), live, result)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its page."""
    out = tmp_path_factory.mktemp("page") / "a"
    recipe = Recipe(
        name="test", backbone="tiny_nets:tiny", weights="none", task_options={"head": "flat"},
        data=DataTable(source="digits", batch=32, limit=90, workers=0),
        optim=OptimTable(lr=1e-2, head_scale=1.0), schedule=ScheduleTable(epochs=3),
        run=RunTable(precision="fp32", plots=False, device="cpu"),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:  # however slow the machine
        patch.setattr(finish, "PAGE_SECONDS", 600.0)
        fit(recipe, out, verbosity=-1)
    return out


def copied(run: Path, to: Path, **recipe: str) -> Path:
    """A copy of a run, with replaced lines in its recipe."""
    shutil.copytree(run, to)
    text = (to / "recipe.toml").read_text()
    for old, new in recipe.items():
        text, count = re.subn(rf"(?m)^{old} = .*$", f"{old} = {new}", text)
        assert count == 1
    (to / "recipe.toml").write_text(text)
    return to


def test_a_run_ends_with_its_page(run: Path) -> None:
    html = (run / "report.html").read_text()
    page = check_page(html)
    result = json.loads((run / "result.json").read_text())
    assert len(html) < 10e6
    assert f"{result['metrics']['top1']:.3f}" in page.text
    for part in ("What is wrong", "What to do next", "Confusion", "Classes", "Curves", "Recipe",
                 "Environment", "What the net is shown", "95 %", "train 90, val 90", "Grad-CAM",
                 "occlusion", "Calibration", "temperature"):  # fmt: skip
        assert part in page.text, part
    wrong = [row.split(",") for row in (run / "predictions/val.csv").read_text().splitlines()]
    worst = min((row for row in wrong[1:] if row[-1] == "0"), key=lambda row: float(row[4]))
    first = page.text.index("Worst errors", page.text.index("What is wrong"))
    assert worst[0] in page.text[first : first + 200]
    assert len(page.all("img")) > 20


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to look with")
def test_a_cell_of_the_matrix_shows_its_pictures_in_a_browser(run: Path, tmp_path: Path) -> None:
    html = (run / "report.html").read_text()
    (tmp_path / "page.html").write_text(html.replace("</body>", """<script>
      const cell = document.querySelector(".miss button[data-cell]");
      cell.click();
      document.querySelector("table.sorts thead button").click();
      document.title = [cell.textContent, document.querySelectorAll("#cell figure").length,
        document.querySelectorAll("#cell .names li").length, document.getElementById("cell").hidden,
        cell.getAttribute("aria-pressed"), document.querySelector("[aria-sort=descending]") !== null
          || document.querySelector("[aria-sort=ascending]") !== null,
        [...document.images].every(i => i.complete && i.naturalWidth)].join(" ");
    </script></body>"""))  # fmt: skip
    seen = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000",
         "--enable-logging=stderr", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert seen.returncode == 0, seen.stderr[-500:]
    assert "CONSOLE" not in seen.stderr
    count, shown, named, *others = re.findall(r"<title>(.*?)</title>", seen.stdout)[0].split()
    assert int(count) == int(shown) + int(named) and int(shown) > 0
    assert others == ["false", "true", "true", "true"]


def test_the_page_is_made_anew_from_the_folder(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.html"
    assert (
        main(["report", str(run), "-o", str(out), "--device", "cpu", "--trust", "tiny_nets"]) == 0
    )
    page, before = check_page(out.read_text()), Page((run / "report.html").read_text())
    assert [a for t, a in page.tags if t == "img"] == [a for t, a in before.tags if t == "img"]
    assert main(["report", str(tmp_path), "-o", str(out)]) == 2


def test_a_run_without_its_data_or_its_end_has_a_page_too(run: Path, tmp_path: Path) -> None:
    gone = copied(run, tmp_path / "gone", source='"/nowhere/at/all"')
    page = check_page(write_report(gone, trust="tiny_nets", device="cpu").read_text())
    assert "can't be shown" in page.text and "Confusion" not in page.text
    assert "Classes" in page.text
    stopped = copied(run, tmp_path / "stopped")
    (stopped / "result.json").unlink()
    page = check_page(write_report(stopped, trust="tiny_nets", device="cpu").read_text())
    assert "not finished" in page.text and f"--resume {stopped}" in page.text
    assert page.all("img")
    shutil.rmtree(stopped / "predictions")
    for name in ("best.safetensors", "log.jsonl", "model.json"):
        (stopped / name).unlink()
    page = check_page(write_report(stopped).read_text())
    assert "no score" in page.text and "before anything was scored" in page.text


def test_a_run_without_val_says_that_nothing_is_known(tmp_path: Path) -> None:
    result = {"schema": 1, "primary": "top1", "steps": 5}
    facts = Facts.of(folder_of(tmp_path), None, result)
    facts.recipe["data.val"] = "none"
    page = check_page(build(facts))
    assert "no score" in page.text and "--val none" in page.text and "xfer eval" in page.text


def test_names_in_files_are_text(tmp_path: Path) -> None:
    metric, ids = scored()
    env = {"data_notes": [f"grey: warning: {HOSTILE}"], "command": ["xfer", HOSTILE]}
    folder_of(tmp_path, env=env)
    page = page_of(tmp_path, metric, Grey(ids), "classify")
    assert len(page.all("script")) == 2  # the cells and our own
    assert not page.all("b") and not [a for _, a in page.tags if "onerror" in a]
    assert HOSTILE in page.text and "<b>bee</b> & \\u202ewasp" in page.text


def test_pictures_keep_to_the_budget_and_the_rest_is_counted(tmp_path: Path) -> None:
    metric, ids = scored(200)
    examples = sorted(metric.examples(), key=lambda e: -e.loss)
    pictures = Pictures(Grey(ids), kinds.get("classify"), CLASSES)
    whole, left = pictures.figures(examples[:5], Budget(10**6, Live()))
    assert left == 0 and whole.count("<figure") == 5
    some, left = pictures.figures(examples, Budget(len(whole), Live()))
    assert 0 < some.count("<figure") <= 6
    assert left == len(examples) - 5 - some.count("<figure")
    page = page_of(tmp_path, metric, Grey(ids), "classify", deadline=0.0)
    wrong = sum(not e.good for e in examples)
    assert not page.all("img") and f"{wrong} more are not in this page" in page.text
    assert "xfer report" in page.text


def test_each_picture_is_in_the_page_once_and_cells_find_it(tmp_path: Path) -> None:
    metric, ids = scored(60)
    pictures = Pictures(Grey(ids), kinds.get("classify"), CLASSES)
    facts = Facts.of(folder_of(tmp_path), Live("val", metric, kind=kinds.get("classify")), {})
    examples = galleries.examples_of(facts)
    html = str(galleries.errors(facts, examples, pictures))
    html += str(galleries.right(facts, examples, pictures))
    drawn = re.findall(r'<figure class="pic \w+" id="p(\d+)"', html)
    assert len(drawn) == len(set(drawn)) == len(pictures.number) == 60
    cells = galleries.cells(examples, pictures)
    for key, items in cells.items():
        row, column = map(int, key.split("-"))
        assert len(items) == metric.confusion[row, column]
        assert all(number == pictures.number[name] for number, name in items)


def test_boxes_are_shown_beside_the_truth(tmp_path: Path) -> None:
    ids = ["a.jpg", "b.jpg"]
    metric = DetectionAP(CLASSES)
    truth = Boxes.of([[5, 5, 30, 30], [40, 40, 70, 70]], [0, 1], size=(80, 100))
    found = FoundBoxes(
        np.array([0, 0]), np.array([0, 2]), np.array([[5.0, 5, 25, 25], [60, 2, 20, 20]]),
        np.array([0.9, 0.8]),
    )  # fmt: skip
    metric.add(ids, TrueBoxes.of(np.array([0, 0]), truth), found)
    page = page_of(tmp_path, metric, Grey(ids, kind="detect"), "detect")
    roles = Counter(a["class"] for a in page.all("rect") if a["class"] != "box under")
    # in the key there are swatches, in the pictures boxes
    assert roles == {"box truth": 1, "box missed": 1, "box right": 1, "box wrong": 1}
    assert "fly 0.80" in page.text and "1 of 2 found" in page.text
    assert len(page.all("use")) == 2  # a picture is in the page once, and shown twice
    for part in ("Kinds of detection errors", "Precision over recall", "wrong class"):
        assert part in page.text
    # found, missed, and one where no box is: the cells are those of a row "no object" too
    expected = np.zeros((4, 4), int)
    expected[0, 0] = expected[1, 3] = expected[3, 2] = 1
    np.testing.assert_array_equal(metric.box_confusion, expected)
    assert "no object" in page.text
    assert metric.examples()[0].cells == ((0, 0), (3, 2), (1, 3))


def test_masks_are_shown_beside_the_truth_and_cells_know_their_pictures(tmp_path: Path) -> None:
    ids = ["a.png", "b.png"]
    metric = MeanIoU(CLASSES)
    for place, name in enumerate(ids):
        truth = np.zeros((80, 100), np.uint8)
        truth[:40] = 1
        truth[70:, :50] = 255
        metric.add(np.where(truth == 1, place, 0).astype(np.uint8), truth, name)
    page = page_of(tmp_path, metric, Grey(ids, kind="segment"), "segment")
    assert len(page.all("img")) == 6
    assert page.text.count("wrong pixels") == 2 and "✗" not in page.text
    examples = metric.examples()
    pictures = Pictures(Grey(ids), kinds.get("segment"), CLASSES)
    pictures.figures(examples, Budget(10**6, Live()))
    assert galleries.cells(examples, pictures)["1-0"] == [[1, "a.png"]]
    assert galleries.cells(examples, pictures)["1-1"] == [[2, "b.png"]]


def test_several_labels_and_a_kind_of_ones_own(tmp_path: Path) -> None:
    ids = [f"{i}.jpg" for i in range(12)]
    metric = MultiLabelAP(CLASSES)
    rng = np.random.default_rng(0)
    metric.add(rng.random((12, 3)), rng.integers(-1, 2, (12, 3)), ids)
    page = page_of(tmp_path, metric, Grey(ids, kind="multilabel"), "multilabel")
    assert "Worst errors" in page.text and "missed: " in page.text

    class Numbers(kinds.Kind):
        name, holds, classes = "numbers", "a number per picture", False

    class Error:
        primary = "r2"

        def compute(self) -> dict[str, Any]:
            return {"r2": 0.25}

        def protocol(self) -> dict[str, str]:
            return {"r2": "share of the variance"}

        def rows(self) -> list[dict[str, Any]]:
            return [{"id": name, "number": 0.5 * n} for n, name in enumerate(ids)]

    class Examples(Error):
        def examples(self) -> list[Example]:
            return [Example(name, (f"is {n}",), n > 5, 12.0 - n) for n, name in enumerate(ids)]

    result = {"schema": 1, "primary": "r2", "metrics": {"r2": 0.25}}
    for metric, words in ((Examples(), "6 of 12"), (Error(), "number 5.5000 11.jpg")):
        live = Live("val", metric, Grey(ids), kind=Numbers())
        page = check_page(build(Facts.of(tmp_path, live, result)))
        assert "0.250" in page.text and len(page.all("img")) == 12 and words in page.text


def test_seeds_are_a_group_and_other_recipes_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    other = copied(run, tmp_path / "b", seed="1")
    third = copied(run, tmp_path / "c", lr="0.5")
    rows = (other / "predictions/val.csv").read_text().splitlines()
    first = next(i for i, row in enumerate(rows) if row.endswith(",1"))
    rows[first] = rows[first][:-1] + "0"
    (other / "predictions/val.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "both.html"
    assert main(["report", str(run), str(other), str(third), "-o", str(out)]) == 0
    page = check_page(out.read_text())
    assert "they differ in their seed alone (0, 1)" in page.text
    assert "optim.lr 0.01 0.01 0.5" in page.text
    assert "1 right in some" in page.text and rows[first].split(",")[0] in page.text
    assert "Is the difference real?" in page.text
    assert {"href": "b/report.html"} in page.all("a")


def test_runs_are_named_apart() -> None:
    paths = [Path("/x/a/run"), Path("/x/b/run"), Path("/x/c")]
    facts: Any = [type("F", (), {"path": path})() for path in paths]
    assert comparison.run_names(facts) == ["a/run", "b/run", "x/c"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.86, 0.9, [0.86, 0.87, 0.88, 0.89, 0.9]), (3, 3, [3])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high, 5) == pytest.approx(expected)


def test_a_line_has_gaps_where_it_has_no_number() -> None:
    points = [(0.0, 1.0), (1.0, float("nan")), (2.0, 3.0), (3.0, 2.0)]
    drawn = charts.line_chart([charts.Line("loss", points)], "Loss", "epoch")
    (path,) = re.findall(r'<path d="([^"]+)"', drawn)
    assert path.count("M") == 2 and path.count("L") == 1
    assert "nan" not in drawn
    assert charts.line_chart([charts.Line("loss", [(0.0, float("nan"))])], "Loss", "epoch") == ""


def test_numbers_for_people() -> None:
    told = [markup.number(v) for v in (0.00027, 1e-7, 123456, 1234.56, None, True, float("nan"))]
    assert told == ["0.0003", "1e-07", "123,456", "1,234.6", "–", "yes", "nan"]
