"""Imports go down only, third parties stay behind their adapters, and starting imports no torch."""

from __future__ import annotations

import ast
import functools
import graphlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# rooms and modules, lowest first: imports stay in their row or go to a row above it in this list.
# The longest name that fits decides: "proposals" has its own row, "proposals.measure" another.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "boxes",
        "objects",
        "types",
        "errors",
        "plugs",
        "registry",
        "files",
        "fetch",
        "exit_codes",
        "locking",
        "allocator",
        "parts",
    ),
    ("nn", "ops", "cache", "device", "recipe", "recipe.tables"),
    ("report.markup", "report.charts", "notebook"),
    ("backbones", "metrics", "data", "data.images", "data.unpack", "data.catalog"),
    (
        "kinds.annotation",
        "kinds.box_stats",
        "kinds.pixel_counts",
        "kinds.box_rows",
        "kinds.segment_stats",
    ),
    ("drawing", "notebook.pictures"),
    ("kinds",),
    ("data.sources", "data.together"),
    ("data.inspect", "data.loading", "data.pack"),
    ("data.transforms", "data.readers"),
    ("data.spec", "data.download", "data.streams"),
    ("data.open", "data.joining", "data.pack.writer"),
    ("detectors", "pixels"),
    tuple(
        f"exporting.{net}"
        for net in (
            "contract",
            "suppress",
            "labels",
            "regions",
            "cells",
            "boxes",
            "instances",
            "masks",
            "segments",
        )
    ),
    ("task", "proposals", "runs.checkpoint", "explain.contract"),
    ("detectors.box_task", "pixels.pixel_task", "heads"),
    (
        "tasks",
        "recipe.toml",
        "recipe.choose",
        "recipe.data",
        "recipe.idle",
        "recipe.paths",
        "recipe.code",
    ),
    ("runs", "explain"),
    ("extraction", "report", "tracking", "notebook.sheet"),
    ("probing",),
    ("doctor",),
    ("inference", "exporting"),
    ("engines",),
    ("importing",),
    ("report.page", "report.comparison", "notebook.worst"),
    ("probing.run", "serving"),
    ("proposals.measure", "proposals.from_run", "train"),
    ("trials",),
    ("ask",),
    ("api",),
    ("cli", "testing", "__main__"),
)
PLACES = {name: number for number, row in enumerate(LAYERS) for name in row}

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
    "IPython": (),  # a kernel has loaded it; `xfer.notebook.kernel` finds it there
    "matplotlib": ("xfer/report/", "xfer/drawing/"),
    "typer": ("xfer/cli/",),
    "ray": ("xfer/engines/ray.py",),
    "fsspec": ("xfer/data/streams/shards.py",),
    "tensorboard": ("xfer/tracking/",),
    "starlette": ("xfer/serving/",),
    "uvicorn": ("xfer/serving/",),
    "pycocotools": ("xfer/metrics/", "xfer/data/", "xfer/objects/"),
    "sklearn": ("xfer/data/", "xfer/metrics/", "xfer/extraction", "xfer/probing"),
}
CALLS_CUDA = ("xfer/device.py", "xfer/testing/pretended_gpu.py")
# pinned memory, norms over processes, and which optimisers have a fused kernel, depend on the
# device's name
NAMES_CUDA = (
    *CALLS_CUDA,
    "xfer/testing/pretended_autocast.py",
    "xfer/train/job.py",
    "xfer/train/optim.py",
    "xfer/nn/sync_norm.py",
)


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


def imports(tree: ast.AST, module: str, checker_too: bool = False) -> Iterator[str]:
    """Dotted names that a module imports when it runs; `checker_too`: those for the type checker
    alone as well."""
    skipped: set[ast.AST] = set()
    for node in () if checker_too else ast.walk(tree):
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
    """The number of the row that holds a module of ours. Raises KeyError for one that none does."""
    words = module.split(".")[1:]
    if not words or words[0] == "__version__":
        return 0  # xfer itself, which imports lazily, and its version
    for count in range(len(words), 0, -1):
        number = PLACES.get(".".join(words[:count]))
        if number is not None:
            return number
    raise KeyError(f"{module} is in no row of LAYERS")


@functools.cache
def parsed() -> tuple[tuple[str, str, ast.Module], ...]:
    """(file, its module, its tree) for every module of the package."""
    return tuple(
        (name_of(path), dotted(path), ast.parse(path.read_text(encoding="utf-8")))
        for path in sources()
    )


@functools.cache
def arrows() -> tuple[tuple[str, str, str], ...]:
    """(file, its module, what it imports) for every import in the package."""
    return tuple(
        (file, module, target)
        for file, module, tree in parsed()
        for target in imports(tree, module)
    )


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


def test_no_circle_of_imports() -> None:
    """Imports for the type checker alone count too: two files that name each other are one."""
    modules = {module for file, module, _ in parsed() if not file.endswith("__init__.py")}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for _, module, tree in parsed():
        if module not in modules:
            continue  # packages: their names are loaded on first use, or their modules'
        for target in imports(tree, module, checker_too=True):
            if target in modules and target != module:
                graph[module].add(target)
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_no_room_is_a_drawer() -> None:
    folders: dict[str, int] = {}
    long: list[str] = []
    for path in sources():
        if path.name != "__init__.py":
            folder = path.parent.relative_to(ROOT).as_posix()
            folders[folder] = folders.get(folder, 0) + 1
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > 420:
            long.append(f"{name_of(path)}: {lines} lines")
    assert folders["xfer"] <= 14
    assert not {folder: n for folder, n in folders.items() if n > 25}
    assert not long


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
    for file, _, tree in parsed():
        for node in ast.walk(tree):
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
