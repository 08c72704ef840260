"""benchmarks/gpu.py times the product's own loop; without a GPU it says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(root: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "benchmarks" / "gpu.py"), "--json", str(out), *words],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_it_times_every_input_and_a_detector(repo_root: Path, tmp_path: Path) -> None:
    done = run(repo_root, tmp_path / "r.json", "--device", "cpu", "--quick", "--eager",
               "--size", "128", "--net", "resnet18", "--boxes", "fast_rcnn alexnet")  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "r.json").read_text())
    for kind in ("synthetic", "raw", "jpeg", "reference"):
        assert found[f"resnet18 128 {kind}"] > 0
    assert found["fast_rcnn alexnet"] > 0
    assert "figures are meaningless" in found["device"]


def test_without_a_gpu_it_says_so_and_measures_nothing(repo_root: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = run(repo_root, tmp_path / "r.json", "--net", "alexnet")
    assert done.returncode == 0 and "not measured" in done.stdout
    found = json.loads((tmp_path / "r.json").read_text())
    assert set(found.values()) == {None} and "alexnet 224 raw" in found
