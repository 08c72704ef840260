"""Killed at every moment of writing, a pack and an index end with the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the work is done in forks")
@pytest.mark.parametrize(("kind", "least"), [("pack", 40), ("index", 25)])
def test_killed_at_any_moment_and_done_again_gives_the_same_bytes(
    kind: str, least: int, tmp_path: Path
) -> None:
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "kill_moments.py"), kind, str(tmp_path / "in")],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(here.parent), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["bad"]
    assert found["moments"] >= least
