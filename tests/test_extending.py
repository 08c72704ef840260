"""The examples of docs/extending.md run as they stand on the page; tasks keep their contract."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_nets import tiny

import xfer
from xfer import kinds
from xfer import task as tasks
from xfer.backbones.base import backbones
from xfer.backbones.build import describe
from xfer.cli import main
from xfer.errors import XferError
from xfer.testing import check_task
from xfer.testing.mask_scenes import MaskScenes, joint_scenes
from xfer.testing.scenes import ShapeScenes
from xfer.testing.segment_scenes import SegmentScenes
from xfer.testing.source import SyntheticSource
from xfer.types import Source

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


MODULES = ("make", "blocks", "branches", "stripes", "labelmejson", "amounts", "regress",
           "check_backbones", "check_regress")  # fmt: skip


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Writes the page's files to the present folder; returns its commands."""
    text = PAGE.read_text(encoding="utf-8")
    for block, name in re.findall(r"```python\n(# (\w+)\.py\n.*?)```", text, re.S):
        (tmp_path / f"{name}.py").write_text(block, encoding="utf-8")
    assert {file.stem for file in tmp_path.glob("*.py")} == set(MODULES)
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    monkeypatch.chdir(tmp_path)
    kinds.KINDS.names()  # loads them
    monkeypatch.setattr(kinds.KINDS, "_things", {**kinds.KINDS._things})
    for module in MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    yield re.findall(r"(?m)^    ((?:xfer|python) .+)$", prose)
    for module in MODULES:
        sys.modules.pop(module, None)


@pytest.mark.slow
def test_the_page_runs_line_by_line_as_it_stands(
    page: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert len(page) >= 14
    printed = {}
    for line in page:
        program, *words = shlex.split(line)
        if program == "python":
            with monkeypatch.context() as patch:
                patch.syspath_prepend(tmp_path)
                runpy.run_path(words[0], run_name="__main__")
        else:
            assert main(words) == 0, f"{line}: {capsys.readouterr().err}"
        printed[line] = capsys.readouterr().out
    shown = next(text for line, text in printed.items() if "data show amounts" in line)
    assert "least" in shown and "96" in shown
    scores = json.loads((tmp_path / "runs" / "dots" / "result.json").read_text())
    assert scores["primary"] == "r2" and scores["metrics"]["r2"] > 0.5
    assert json.loads((tmp_path / "runs" / "dots" / "model.json").read_text())["kind_from"] == (
        "amounts"
    )
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 2
    # the script beside the exported file says the same
    parts = runpy.run_path("dots.py")
    said = parts["predict"](*parts["open_model"](), parts["read_picture"]("dots/0.png"), "")
    trust = ["amounts", "regress", "blocks"]
    wanted = xfer.load("runs/dots", trust=trust).predict("dots/0.png")[0].value
    assert float(said.split()[-1]) == pytest.approx(wanted, abs=0.3)
    # the run goes on, and without trust no module of the page is imported
    assert main(["predict", "runs/dots", "dots/0.png"]) == 2
    assert "--trust" in capsys.readouterr().err


def test_the_pages_backbone_learns_the_pages_data(page: list[str], tmp_path: Path) -> None:
    run = xfer.finetune(
        "stripes:Stripes", backbone="blocks:blocks", weights="none", epochs=12, batch=16, lr=2e-3,
        out=tmp_path / "run", verbosity=-1, workers=1, precision="fp32",
        **{"run.plots": False, "run.report": False, "data.augment": "light", "backbone.width": 24},
    )  # fmt: skip
    assert run.result["metrics"]["top1"] > 0.8


def test_the_pages_backbone_is_found_by_its_bare_name_once_registered(
    page: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    known = dict.fromkeys(backbones.names())
    monkeypatch.setattr(backbones, "_things", {**backbones._things})
    backbones.register("blocks")(importlib.import_module("blocks").blocks)
    assert set(backbones.names()) - set(known) == {"blocks"}
    assert xfer.create_backbone("blocks", width=8).specs["conv3"].channels == 8
    assert describe("blocks").parameters
    with pytest.raises(XferError, match="no published"):
        xfer.create_backbone("blocks", weights="imagenet")


def kinds_of_tasks() -> list[tuple[str, str]]:
    return [(name, kind) for name in tasks.names() for kind in tasks.get(name).kinds]


@pytest.mark.parametrize(("name", "kind"), kinds_of_tasks())
def test_every_task_keeps_the_contract_for_every_kind_it_learns_from(name: str, kind: str) -> None:
    if "+" in kind:
        source: Source = joint_scenes(12, "multilabel" in kind, size=(32, 48))
    elif kind in ("detect", "instance"):
        source = ShapeScenes(12, size=(32, 48), masks=kind == "instance")
    elif kind == "segment":
        source = MaskScenes(12, size=(32, 48))
    elif kind == "panoptic":
        source = SegmentScenes(12, size=(32, 48))
    else:
        source = SyntheticSource(20, multilabel=kind == "multilabel")
    assert source.info.kind == kind
    check_task(name, source, tiny())
