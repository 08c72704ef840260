"""The examples of docs/extending.md run as they stand on the page; tasks keep their contract."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
from tiny_nets import tiny

import xfer
from xfer import task as tasks
from xfer.backbones.base import backbones
from xfer.backbones.build import describe
from xfer.errors import XferError
from xfer.testing import check_task
from xfer.testing.mask_scenes import MaskScenes
from xfer.testing.scenes import ShapeScenes
from xfer.testing.source import SyntheticSource
from xfer.types import Source

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Writes the page's files to the present folder; returns its other blocks of code."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    rest: list[str] = []
    for block in blocks:
        name = re.match(r"# (\w+\.py)\n", block)
        if name:
            (tmp_path / name[1]).write_text(block, encoding="utf-8")
        else:
            rest.append(block)
    monkeypatch.chdir(tmp_path)
    for module in ("blocks", "stripes"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return rest


def test_the_checks_on_the_page_pass(
    page: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert len(page) == 2
    for block in page:
        exec(compile(block, str(PAGE), "exec"), {})


def test_the_pages_backbone_learns_the_pages_data(page: list[str], tmp_path: Path) -> None:
    run = xfer.finetune(
        "stripes:Stripes", backbone="blocks:blocks", weights="none", epochs=12, batch=16, lr=2e-3,
        out=tmp_path / "run", verbosity=-1, workers=1, precision="fp32",
        **{"run.plots": False, "data.augment": "light", "backbone.width": 24},
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


def kinds() -> list[tuple[str, str]]:
    return [(name, kind) for name in tasks.names() for kind in tasks.get(name).kinds]


@pytest.mark.parametrize(("name", "kind"), kinds())
def test_every_task_keeps_the_contract_for_every_kind_it_learns_from(name: str, kind: str) -> None:
    if kind == "detect":
        source: Source = ShapeScenes(12, size=(32, 48))
    elif kind == "segment":
        source = MaskScenes(12, size=(32, 48))
    else:
        source = SyntheticSource(20, multilabel=kind == "multilabel")
    assert source.info.kind == kind
    check_task(name, source, tiny())
