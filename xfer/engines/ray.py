"""Features and predictions through Ray Data: `pip install 'xfer[ray]'`.

    import xfer.engines.ray as engine

    rows = engine.features("photos/", backbone="alexnet", layer="pool5", pool="avg", concurrency=2)
    rows.write_parquet("features/")

Each of `concurrency` actors loads the net once and holds it; Ray hands it batches and starts it
again where it dies. Data are read by the actors: on several machines they lie on a disk that all of
these see. On a cluster with GPUs each actor has one of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xfer import plugs
from xfer.data.open import open_data
from xfer.data.sources.base import subset
from xfer.errors import XferError
from xfer.extraction.extractor import FeatureExtractor
from xfer.runs.plain_json import plain
from xfer.types import Source

if TYPE_CHECKING:
    from ray.data import Dataset  # pyright: ignore[reportMissingImports]

Columns = dict[str, Any]


@plugs.face("data", "backbone")
def features(
    data: Any,
    *,
    backbone: str = "alexnet",
    weights: str = "imagenet",
    layer: str | Sequence[str] = "pool5",
    pool: str = "flatten",
    crops: str = "centre",
    views: str = "mean",
    size: int = 0,
    batch: int = 64,
    device: str = "auto",
    precision: str = "auto",
    options: Mapping[str, Any] | None = None,
    concurrency: int = 1,
    data_keys: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
) -> Dataset:
    """A Ray Dataset of the features of pictures: column `id`, and one of vectors per layer.

    Args:
        data: a spec or data in memory, as in `xfer.features`; or a Ray Dataset with a column
            `bytes`, of encoded pictures, or `path`, and perhaps `id`.
        backbone ... options: as in `xfer.FeatureExtractor`; batch: pictures per pass of the net.
        concurrency: how many actors, each with a net of its own.
        data_keys: how a spec is read, as in `open_data`.
        trust: your own modules that the actors may import.

    Raises: XferError without Ray, and for unknown names; DataError for unusable data.
    """
    net = FeatureExtractor(
        backbone, weights, layer, pool, crops, views, size, batch, device, precision, options,
        cache=False, trust=(*_texts(trust), *plugs.trusted()),
    )  # fmt: skip
    net.fit(None)
    rows, sources = _rows(data, data_keys)
    return _mapped(rows, _Features, {"net": net, "sources": sources}, batch, concurrency)


@plugs.face("data")
def predict(
    data: Any,
    *,
    run: Path | str,
    tta: str = "",
    batch: int = 32,
    device: str = "auto",
    calibrated: bool = False,
    concurrency: int = 1,
    data_keys: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
) -> Dataset:
    """A Ray Dataset of a run's predictions: column `id`, those of its values that are numbers or
    texts (`label` and others, by task), and `json`, the row that `xfer predict --format json` has.

    Args:
        data, concurrency, data_keys, trust: as in `features`; tta, calibrated: as in
            `Model.predict`; batch: pictures at a time.
        run: the run folder, on a disk that all machines see.

    Raises: as `features`, and DataError for a folder that is not a run.
    """
    from xfer.runs.folder import Run

    given = {
        "run": str(Run.open(Path(run)).path.absolute()), "device": device, "tta": tta,
        "calibrated": calibrated, "trust": (*_texts(trust), *plugs.trusted()),
    }  # fmt: skip
    rows, sources = _rows(data, data_keys)
    return _mapped(rows, _Predictions, {**given, "sources": sources}, batch, concurrency)


class _Features:
    """The actor that holds a net."""

    def __init__(self, net: FeatureExtractor, sources: Sequence[Source]) -> None:
        self.net, self.sources = net, sources

    def __call__(self, rows: Columns) -> Columns:
        groups = _pictures(rows, self.sources)
        found = [self.net.extract(pictures) for _, pictures in groups]
        layers = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
        return {"id": np.concatenate([ids for ids, _ in groups]), **layers}


class _Predictions:
    """The actor that holds a run's model."""

    def __init__(
        self, run: str, device: str, tta: str, calibrated: bool, trust: Sequence[str],
        sources: Sequence[Source],
    ) -> None:  # fmt: skip
        from xfer.inference.model import load

        self.model, self.sources = load(run, device=device, trust=trust), sources
        self.options = {"tta": tta, "calibrated": calibrated}

    def __call__(self, rows: Columns) -> Columns:
        described: list[dict[str, Any]] = []
        for ids, pictures in _pictures(rows, self.sources):
            images = pictures
            if not isinstance(images, list):
                images = [images[i].image for i in range(len(images))]
            found = self.model.predict(images, batch=len(ids), **self.options)
            described += [
                plain({**row, "id": name}) for row, name in zip(found.rows(), ids, strict=True)
            ]
        flat = [key for key, value in described[0].items() if isinstance(value, (str, int, float))]
        columns = {key: np.array([row.get(key) for row in described]) for key in flat}
        return {**columns, "json": np.array([json.dumps(row) for row in described])}


def _rows(data: Any, data_keys: Mapping[str, Any] | None) -> tuple[Dataset, list[Source]]:
    """A Dataset with a row per picture, and the sources that its numbers count through; none if the
    rows hold the pictures themselves."""
    ray_data = _ray()
    if isinstance(data, ray_data.Dataset):
        known = set(data.schema().names)
        if not known & {"bytes", "path"}:
            raise XferError(
                f"a Ray Dataset with the columns {', '.join(sorted(known))}",
                "it needs bytes (encoded pictures) or path",
            )
        return data, []
    bundle = open_data(data, cut=False, check=False, **(data_keys or {}))
    sources = list(bundle.splits.values())
    return ray_data.range(sum(map(len, sources))), sources


def _pictures(rows: Columns, sources: Sequence[Source]) -> list[tuple[NDArray[Any], Any]]:
    """The ids and the pictures of a batch of rows: of each source that it reaches into."""
    if not sources:
        key = "bytes" if "bytes" in rows else "path"
        names = rows.get("id", rows.get("path", np.arange(len(rows[key]))))
        return [(np.array([str(name) for name in names]), list(rows[key]))]
    found: list[tuple[NDArray[Any], Any]] = []
    first = 0
    for source in sources:
        own = rows["id"][(rows["id"] >= first) & (rows["id"] < first + len(source))] - first
        first += len(source)
        if len(own):
            chosen = subset(source, own)
            found.append((np.array(list(chosen.ids), np.str_), chosen))
    return found


def _mapped(
    rows: Dataset, actor: type, given: Mapping[str, Any], batch: int, concurrency: int
) -> Dataset:
    if concurrency < 1:
        raise XferError(f"concurrency={concurrency}: at least one actor is needed")
    import ray  # pyright: ignore[reportMissingImports]

    # `rows` has joined or started the cluster
    cluster: dict[str, Any] = ray.cluster_resources()  # pyright: ignore[reportAttributeAccessIssue]
    # one CPU is left for what reads: on a machine with as many CPUs as actors nothing would begin
    needs: dict[str, Any] = {"num_cpus": min(1.0, cluster.get("CPU", 1) / (concurrency + 1))}
    if cluster.get("GPU", 0):
        needs["num_gpus"] = 1
    return rows.map_batches(
        actor, fn_constructor_kwargs=dict(given), batch_size=batch, batch_format="numpy",
        concurrency=concurrency, **needs,
    )  # fmt: skip


def _texts(trust: str | Sequence[str]) -> tuple[str, ...]:
    return (trust,) if isinstance(trust, str) else tuple(trust)


def _ray() -> Any:
    """Ray Data. Raises XferError if it is not installed."""
    try:
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise XferError("Ray Data is not installed", "pip install 'xfer[ray]'") from None
    return ray.data
