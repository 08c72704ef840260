"""Fixtures shared by the tests: where the real pictures are, and a cache of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: a thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from xfer import plugs

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The folder of pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def picture_data() -> Path:
    """Real pictures: $XFER_TEST_DATA, or ../shared/data beside the repository; else a skip."""
    folder = Path(os.environ.get("XFER_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no pictures at {folder}: set XFER_TEST_DATA")
    return folder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("XFER_CACHE", str(tmp_path_factory.getbasetemp() / "xfer-cache"))


@pytest.fixture(autouse=True, scope="session")
def tiny_nets_are_named() -> Iterator[None]:
    """Tests say `tiny_nets:tiny` in recipes and files of theirs, too."""
    with plugs.naming(trust="tiny_nets"):
        yield
