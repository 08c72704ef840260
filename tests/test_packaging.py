"""What is built is what lies here: packages, tasks and recipes, under xfer and nowhere else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in the wheel, built from a copy of the tracked and new files, away from build/."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout: which files belong to the project is not known")
    work = tmp_path_factory.mktemp("wheel")
    for name in listed.stdout.splitlines():
        source, copy = ROOT / name, work / "tree" / name
        if source.is_file() and not source.is_symlink():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
        elif source.is_symlink():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(source.readlink())
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(work), str(work / "tree")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if "No module named" in built.stderr and "setuptools" in built.stderr:
        pytest.skip("setuptools is not installed: .ci/run builds the wheel")
    assert built.returncode == 0, built.stderr[-800:]
    with zipfile.ZipFile(next(work.glob("*.whl"))) as file:
        return set(file.namelist())


def packages_here() -> set[str]:
    found = {
        ".".join(p.parent.relative_to(ROOT).parts)
        for p in (ROOT / "xfer").rglob("__init__.py")
        if not any(q.is_symlink() for q in p.parents if q.is_relative_to(ROOT))
    }
    return found | {"xfer.tasks", "xfer.recipes"}


def test_every_package_is_listed(settings: dict[str, Any]) -> None:
    assert set(settings["tool"]["setuptools"]["packages"]) == packages_here()
    assert len(packages_here()) > 7


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {
        p.parent
        for p in (ROOT / "xfer").rglob("*.py")
        if not any(q.is_symlink() for q in p.parents if q.is_relative_to(ROOT))
    }
    assert not [f for f in folders if not (f / "__init__.py").is_file()]


def test_the_links_lead_to_tasks_and_recipes() -> None:
    for name in ("tasks", "recipes"):
        link = ROOT / "xfer" / name
        # a checkout without links has a text file with the same words in it
        target = str(link.readlink()) if link.is_symlink() else link.read_text(encoding="utf-8")
        assert target.strip() == f"../{name}"


def test_the_wheel_holds_every_module_task_and_recipe_under_xfer(wheel: set[str]) -> None:
    modules = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "xfer").rglob("*.py")
        if not any(q.is_symlink() for q in p.parents if q.is_relative_to(ROOT))
    }
    tasks = {f"xfer/tasks/{p.name}" for p in (ROOT / "tasks").glob("*.py")}
    recipes = {
        f"xfer/recipes/{p.relative_to(ROOT / 'recipes').as_posix()}"
        for p in (ROOT / "recipes").rglob("*.toml")
    }
    assert tasks
    assert recipes
    assert (modules | tasks | recipes | {"xfer/py.typed"}) <= wheel
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"xfer"}


def test_tests_and_benchmarks_stay_out_of_the_wheel(wheel: set[str]) -> None:
    assert not [n for n in wheel if "test_" in n or "bench" in n]


def test_a_task_has_one_identity() -> None:
    """Collected by path it would be imported a second time, as `tasks.classify`."""
    import xfer.task

    task = xfer.task.get("classify")
    assert task.__module__ == "xfer.tasks.classify"
    assert "tasks" not in sys.modules
    assert "tasks.classify" not in sys.modules
