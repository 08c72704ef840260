"""Imports go down only, third parties stay behind their adapters, and starting imports no torch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# a module's or package's layer; modules at the top of xfer that are not named here are programs
LAYERS = {
    "types": 0, "fetch": 0, "exit_codes": 0, "registry": 0, "errors": 0, "folders": 0,
    "nn": 1, "ops": 1,
    "backbones": 2, "data": 2, "metrics": 2,
    "task": 3, "recipe": 3, "run": 3, "checkpoint": 3, "optim": 3, "device": 3,
    "tasks": 3, "cache": 3, "proposals": 3,
}  # fmt: skip
PROGRAM = 4
# the public contracts check all of L2 and L3; nothing below the programs may lean on them
TESTING = 4

# who may import what: a path's beginning, relative to the root
ADAPTERS = {
    "albumentations": ("xfer/data/transforms/albu.py",),
    # its nets, its list of weight files, its optimisers by name, its mixup
    "timm": (
        "xfer/backbones/timm.py",
        "xfer/backbones/published.py",
        "xfer/train/optim.py",
        "tasks/",
    ),
    "matplotlib": ("xfer/report/",),
    "typer": ("xfer/cli", "xfer/cli/completion.py", "xfer/exit_codes.py", "xfer/cli/output.py"),
    "pycocotools": ("xfer/metrics/", "xfer/data/"),
    "sklearn": ("xfer/data/", "xfer/metrics/", "xfer/features", "xfer/probe"),
}
CALLS_CUDA = ("xfer/device.py",)
# pinned memory, and which optimisers have a fused kernel, depend on the device's name
NAMES_CUDA = (*CALLS_CUDA, "xfer/train/job.py", "xfer/train/optim.py")


def sources() -> list[Path]:
    """Every module of the package, named as it lies in the repository."""
    inside = [p for p in (ROOT / "xfer").rglob("*.py") if not _through_link(p)]
    return sorted([*inside, *(ROOT / "tasks").glob("*.py")])


def _through_link(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if parent != ROOT)


def name_of(path: Path) -> str:
    """A file's place below the root, with forward slashes."""
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    """A file's name as a module: tasks/ is xfer.tasks."""
    words = list(path.relative_to(ROOT).with_suffix("").parts)
    words = words if words[0] == "xfer" else ["xfer", *words]
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def imports(tree: ast.AST, module: str) -> Iterator[str]:
    """Dotted names that a module imports when it runs; not those for the type checker alone."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped.update(inner for part in node.body for inner in ast.walk(part))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], base]).rstrip(".")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer(module: str) -> int:
    words = module.split(".")
    if len(words) == 1 or words[1] == "__version__":
        return 0  # xfer itself, and its version
    return LAYERS.get(words[1], TESTING if words[1] == "testing" else PROGRAM)


def arrows() -> Iterator[tuple[str, str, str]]:
    """(file, its module, what it imports) for every import in the package."""
    for path in sources():
        module = dotted(path)
        for target in imports(ast.parse(path.read_text(encoding="utf-8")), module):
            yield name_of(path), module, target


def test_the_reader_of_imports_sees_every_form() -> None:
    text = (
        "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\n"
        "def h():\n  import i\n"
        "if TYPE_CHECKING:\n  import unseen\n"
    )
    found = set(imports(ast.parse(text), "xfer.data.module"))
    assert {"a.b", "c", "c.d", "xfer.data.e", "xfer.data.f.g", "i"} <= found
    assert "unseen" not in found
    assert len(sources()) > 30


def test_imports_go_down_only() -> None:
    wrong = [
        f"{file} imports {target}"
        for file, module, target in arrows()
        if target.startswith("xfer.") and layer(module) < layer(target)
    ]
    assert not wrong


def test_parts_do_not_import_each_other() -> None:
    parts = ("backbones", "data", "metrics")
    wrong = [
        f"{file} imports {target}"
        for file, module, target in arrows()
        if target.startswith("xfer.")
        and module.split(".")[1:2] != target.split(".")[1:2]
        and module.split(".")[1:2] in [[p] for p in parts]
        and target.split(".")[1] in parts
    ]
    assert not wrong


def test_nobody_imports_a_task_by_name() -> None:
    wrong = [
        f"{file} imports {target}"
        for file, _, target in arrows()
        if target.startswith(("xfer.tasks.", "tasks.")) or target == "tasks"
    ]
    assert not wrong


@pytest.mark.parametrize("package", sorted(ADAPTERS))
def test_a_third_party_is_met_in_its_adapter_only(package: str) -> None:
    wrong = {
        file
        for file, _, target in arrows()
        if target.split(".")[0] == package and not file.startswith(ADAPTERS[package])
    }
    assert not wrong


def test_only_device_speaks_of_cuda() -> None:
    wrong: list[str] = []
    for path in sources():
        file = name_of(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "cuda" and file not in CALLS_CUDA:
                wrong.append(f"{file}:{node.lineno}")
            if isinstance(node, ast.Constant) and node.value == "cuda" and file not in NAMES_CUDA:
                wrong.append(f"{file}:{node.lineno}")
    assert not wrong


@pytest.mark.parametrize("words", [["-c", "import xfer; dir(xfer)"], ["-m", "xfer", "--help"]])
def test_starting_imports_no_heavy_package(words: list[str]) -> None:
    heavy = ("torch", "timm", "sklearn", "albumentations", "matplotlib", "cv2", "scipy")
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-500:]
    loaded = {line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines() if "|" in line}
    assert "xfer" in loaded
    assert not loaded & set(heavy)
