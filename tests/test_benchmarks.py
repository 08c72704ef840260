"""Benchmarks start, agree on their form, and compare like with like."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SCRIPTS = sorted(p for p in FOLDER.glob("*.py") if p.name != "harness.py")


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts there import each other by bare name, as they do when they are run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("harness", *(p.stem for p in SCRIPTS)):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_every_script_has_the_common_options(script: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    timed = "import harness" in script.read_text(encoding="utf-8")
    for option in ("--json", "--quick", "--rounds") if timed else ("--json",):
        assert option in run.stdout


@pytest.mark.slow
def test_train_step_runs_on_a_tiny_batch(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    words = ["--quick", "--batch", "2", "--net", "alexnet", "--device", "cpu", "--json", str(file)]
    run = subprocess.run(
        [sys.executable, str(FOLDER / "train_step.py"), *words],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-500:]
    assert "AMX" in run.stdout
    assert run.stdout.splitlines()[-1].startswith("alexnet: ")
    assert json.loads(file.read_text())["alexnet"] > 0


@pytest.mark.usefixtures("benchmarks")
def test_train_step_compares_the_same_net() -> None:
    import train_step  # pyright: ignore[reportMissingImports]

    from xfer.backbones.build import create_backbone

    plain = train_step.plain_2012().eval()
    ours = create_backbone("alexnet_2012", classifier=True, lrn="paper").eval()
    theirs = list(plain.parameters())
    parts = (getattr(ours, name) for name in ("trunk", "tail", "classifier"))
    mine = [parameter for part in parts for parameter in part.parameters()]
    assert [p.shape for p in theirs] == [p.shape for p in mine]
    with torch.no_grad():
        for mirror, parameter in zip(theirs, mine, strict=True):
            mirror.copy_(parameter)
        images = torch.randn(1, 3, 227, 227, generator=torch.Generator().manual_seed(0))
        expected, found = plain(images), ours.logits(images)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.usefixtures("benchmarks")
def test_kill_and_resume_sees_one_changed_bit_and_one_changed_loss(tmp_path: Path) -> None:
    import kill_and_resume  # pyright: ignore[reportMissingImports]
    from safetensors.numpy import save_file

    def write(name: str, value: float, loss: float, speed: float) -> Path:
        run = tmp_path / name
        run.mkdir()
        save_file({"w": np.array([value], np.float32)}, run / "best.safetensors")
        events = [
            {"event": "train", "step": 5, "loss": loss, "images_per_second": speed},
            {"event": "resume", "step": 5},
        ]
        (run / "log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
        return run

    first = write("a", 1.0, 0.5, 10)
    assert kill_and_resume.differences(first, write("b", 1.0, 0.5, 99)) == []
    bit = float(np.nextafter(np.float32(1), np.float32(2)))
    assert kill_and_resume.differences(first, write("c", bit, 0.5, 10)) == ["tensor w"]
    assert kill_and_resume.differences(first, write("d", 1.0, 0.6, 10)) == ["train at step 5"]


@pytest.mark.usefixtures("benchmarks")
def test_the_ratio_is_the_median_over_rounds() -> None:
    import harness  # pyright: ignore[reportMissingImports]

    assert harness.median_ratio([2, 6, 40], [1, 2, 4]) == (3, 2, 10)
