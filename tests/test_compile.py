"""run.compile: the backbone through torch.compile, the same losses, names and errors told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from test_loop import TINY, changed

from xfer.errors import XferError
from xfer.runs import checkpoint
from xfer.runs.folder import Run
from xfer.train.loop import fit

RECIPE = changed(TINY, run={"precision": "fp32"}, schedule={"steps": 3})


def losses(run: Path) -> list[float]:
    return [e["loss"] for e in Run(run).events() if e["event"] == "train"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_backbone_learns_the_same_and_is_kept_under_the_same_names(
    tmp_path: Path,
) -> None:
    fit(RECIPE, tmp_path / "plain", verbosity=-1)
    fit(changed(RECIPE, run={"compile": True}), tmp_path / "compiled", verbosity=-1)
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)
    kept = [checkpoint.load_weights(tmp_path / n / "best.safetensors").keys()
            for n in ("plain", "compiled")]  # fmt: skip
    assert kept[0] == kept[1]


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (str(tmp_path / "none"),))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    with pytest.raises(XferError, match=r"torch\.compile failed") as caught:
        fit(changed(RECIPE, run={"compile": True}), tmp_path / "run", verbosity=-1)
    assert "run.compile" in str(caught.value) and caught.value.code == 2
