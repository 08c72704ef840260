"""Starting up is quick: torch is imported when a command needs it, not before."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

PYTHON = [sys.executable, "-W", "ignore"]
HEAVY = ("torch", "torchvision", "timm", "sklearn", "albumentations", "matplotlib", "cv2", "numpy")


def imported_by(code: str) -> set[str]:
    """The heavy packages that are in memory after the code has run."""
    ending = f"\nimport sys; print('HEAVY', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([*PYTHON, "-c", code + ending], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "words", [["--help"], ["finetune", "--help"], ["recipes", "ls"], ["recipes", "show",
              "classify/digits"], ["recipes", "show", "classify/nothing"], ["--version"]],
)  # fmt: skip
def test_commands_that_only_look_import_nothing_heavy(words: list[str]) -> None:
    assert imported_by(f"from xfer.cli.app import main; main({words!r})") == set()


def test_importing_xfer_imports_nothing_heavy() -> None:
    assert (
        imported_by("import xfer, xfer.recipe.tables, xfer.recipe.toml, xfer.runs.listing") == set()
    )


def test_help_comes_at_once() -> None:
    def seconds(command: list[str]) -> float:
        start = time.perf_counter()
        subprocess.run([*PYTHON, *command], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start

    rounds = [
        (seconds(["-m", "xfer", "--help"]), seconds(["-c", "import typer, rich.console"]))
        for _ in range(5)
    ]
    ours, floor = (statistics.median(column) for column in zip(*rounds, strict=True))
    assert ours < max(0.25, 2.5 * floor), f"{ours:.3f} s, importing typer and rich {floor:.3f} s"
