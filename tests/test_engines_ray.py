"""Features and predictions through Ray Data equal those of one process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import write_folder
from test_loop import changed, train

import xfer
from xfer.errors import XferError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'xfer[ray]'")
pytest.importorskip("ray.data", reason="Ray Data needs pandas: pip install 'xfer[ray]'")
from xfer.engines import ray as engine  # noqa: E402

NET: dict[str, Any] = {
    "backbone": "tiny_nets:tiny", "weights": "none", "layer": "conv1,conv2", "pool": "avg",
    "device": "cpu",
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two workers on this machine."""
    paths = str(Path(__file__).parent)
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )  # fmt: skip
    yield
    ray.shutdown()


def test_through_ray_as_in_one_process(cluster: None, tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"ant": 6, "bee": 5})
    photos = str(tmp_path / "photos")
    found = engine.features(photos, **NET, batch=3, concurrency=2).take_all()
    paths = sorted(Path(photos).rglob("*.jpg"))
    layers, _ = xfer.features(photos, **NET, cache=False)
    rows = {row["id"]: row for row in found}
    assert len(rows) == len(found) == len(paths) == 11
    assert set(found[0]) == {"id", "conv1", "conv2"}
    order = [rows[str(path.relative_to(photos))] for path in paths]
    for name in ("conv1", "conv2"):
        np.testing.assert_allclose(np.stack([row[name] for row in order]), layers[name], rtol=1e-5)

    given = ray.data.from_items([{"id": p.name, "bytes": p.read_bytes()} for p in paths])
    again = engine.features(given, **NET, batch=3).take_all()
    by_name = {row["id"]: row["conv2"] for row in again}
    np.testing.assert_allclose(
        np.stack([by_name[p.name] for p in paths]), layers["conv2"], rtol=1e-5
    )
    with pytest.raises(XferError, match="a Ray Dataset with the columns id"):
        engine.features(ray.data.range(3), **NET)

    train(tmp_path / "run", changed(data={"source": photos, "batch": 4, "limit": 0},
                                    schedule={"epochs": 1.0}))  # fmt: skip
    told = engine.predict(photos, run=tmp_path / "run", device="cpu", batch=4, trust="tiny_nets")
    rows = {row["id"]: row for row in told.take_all()}
    for row in xfer.load(tmp_path / "run", device="cpu").predict(list(map(str, paths))).rows():
        own = rows[str(Path(row["id"]).relative_to(photos))]
        assert own["label"] == row["label"]
        scores = json.loads(own["json"])["scores"]
        assert scores == pytest.approx(row["scores"], abs=1e-4)
