"""benchmarks/gpu.py on a bare machine: torch, torchvision, timm, and what these bring along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# runs a script where every installed package is hidden that the three don't need
BARE = """
import re, runpy, sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

def plain(name): return re.sub("[-_.]+", "-", name).lower()

needed, todo = set(), ["torch", "torchvision", "timm", "xfer"]
while todo:
    name = plain(todo.pop())
    if name in needed:
        continue
    needed.add(name)
    try:
        wanted = requires(name) or [] if name != "xfer" else []
    except PackageNotFoundError:
        continue
    todo += [re.match(r"[\\w.-]+", r)[0] for r in wanted if "extra ==" not in r]
hidden = {top for top, names in packages_distributions().items()
          if not needed & {plain(n) for n in names}}
assert {"cv2", "simplejpeg", "typer", "sklearn"} <= hidden, sorted(hidden)

class Bare:
    @staticmethod
    def find_spec(name, path=None, target=None):
        known = name.partition(".")[0] not in hidden
        return PathFinder.find_spec(name, path, target) if known else None

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(root: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE, str(root / "benchmarks" / "gpu.py"), "--json", str(out),
         *words],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_it_runs_with_nothing_but_torch_torchvision_and_timm(
    repo_root: Path, tmp_path: Path
) -> None:
    nets = [word for name in ("alexnet", "alexnet_2012", "alexnet_bn", "resnet18")
            for word in ("--net", name)]  # fmt: skip
    done = run(repo_root, tmp_path / "r.json", "--device", "cpu", "--quick", "--eager",
               "--batch", "4", "--pack", "8", "--size", "128", *nets)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "r.json").read_text())
    for kind in ("synthetic", "raw", "jpeg"):
        assert found[f"alexnet_2012 128 {kind}"] > 0
    assert found["resnet18 128 reference"] > 0
    assert "figures are meaningless" in found["device"]


def test_without_a_gpu_it_says_so_and_measures_nothing(repo_root: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = run(repo_root, tmp_path / "r.json", "--net", "alexnet")
    assert done.returncode == 0 and "not measured" in done.stdout
    found = json.loads((tmp_path / "r.json").read_text())
    assert set(found.values()) == {None} and "alexnet 224 raw" in found
