"""A run made by an earlier layout of the package still loads, predicts and resumes.

golden/run_before_rooms.tar.xz was written at commit cdbb2cf by `xfer finetune --data digits
--backbone timm:test_resnet --freeze all --epochs 4 --limit 64 ...`, killed after 12 of 16 steps;
expected.json holds what the same run came to there without being killed. Its weights are multiples
of a power of two, so that they pack well.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfer

GOLDEN = Path(__file__).parent / "golden" / "run_before_rooms.tar.xz"


@pytest.fixture
def old(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "run_0_1", json.loads((tmp_path / "expected.json").read_text())


def test_it_predicts_the_same(old: tuple[Path, dict[str, Any]]) -> None:
    run, expected = old
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    scores = xfer.load(run).predict([image])[0].scores
    assert np.allclose(scores, expected["scores"], atol=2e-5)


def test_it_goes_on_to_the_same_end(old: tuple[Path, dict[str, Any]]) -> None:
    run, expected = old
    done = xfer.finetune(resume=run, verbosity=-1)
    assert done.result["steps"] == expected["steps"]
    for name, value in expected["metrics"].items():
        assert done.result["metrics"][name] == pytest.approx(value, abs=1e-4), name
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [e["step"] for e in events if e["event"] == "resume"] == [12]
    losses = [e["step"] for e in events if e["event"] == "train"]
    assert losses == list(range(1, 17))


def test_it_is_scored_and_listed(
    old: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    from xfer.cli import main

    run, expected = old
    scored = xfer.evaluate(run)
    assert scored["metrics"]["loss"] == pytest.approx(expected["metrics"]["loss"], abs=1e-4)
    assert main(["runs", "show", str(run)]) == 0
    assert "timm:test_resnet" in capsys.readouterr().out
