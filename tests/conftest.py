"""Shared fixtures: the folder of real pictures, and a separate cache for each test."""

from __future__ import annotations

import ctypes
import gc
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core: one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from xfer import plugs

# the same inputs in every run, so that a red run is due to the change that it tests; new inputs
# are looked for by `pytest --hypothesis-profile=explore`
settings.register_profile("steady", derandomize=True)
settings.register_profile("explore", derandomize=False, print_blob=True)
settings.load_profile("steady")

# glibc's, which hands free memory back to the system; other libraries have none
TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
# how many quick tests take about as long as one marked slow
SLOW = 100


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first, so that no worker is left with one at the end: those
    with tests that are marked slow, then those with the most tests."""
    load: Counter[Path] = Counter()
    for item in items:
        load[item.path] += SLOW if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -load[item.path])


@pytest.fixture(autouse=True, scope="module")
def memory_is_given_back() -> Iterator[None]:
    """Frees what a file's tests have left in cycles, and what the allocator keeps of it: a worker
    goes through half of all files."""
    gc.freeze()  # torch and all that was imported: looking through it takes 0.3 s each time
    yield
    gc.collect()
    if TRIM is not None:
        TRIM(0)


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
    """Keeps tests from reading or filling the user's cache."""
    monkeypatch.setenv("XFER_CACHE", str(tmp_path_factory.getbasetemp() / "xfer-cache"))


@pytest.fixture(autouse=True, scope="session")
def tiny_nets_are_named() -> Iterator[None]:
    """Allows `tiny_nets:tiny` in the tests' recipes and files."""
    with plugs.naming(trust="tiny_nets"):
        yield
