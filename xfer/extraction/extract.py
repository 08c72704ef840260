"""`xfer features`: a data set, a frozen net and its layers -> a features file or arrays."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import plugs
from xfer.data.images.decode import DecodeError
from xfer.data.images.remarks import Remark
from xfer.data.inspect.verify import odd_pictures
from xfer.data.open import open_data
from xfer.data.sources.base import Bundle
from xfer.data.sources.from_python import python_name
from xfer.device import Place, broadcast, enter_on_main, gather, placed
from xfer.errors import DataError, XferError, nearest
from xfer.extraction.cache import FeatureCache, cache_file, limit_bytes
from xfer.extraction.net import Choice, FeatureNet, fixed_options, layer_names, load_net
from xfer.extraction.parquet import check_parquet, write_parquet
from xfer.extraction.store import Features, Spool, spool_folder
from xfer.extraction.stream import Part, parts
from xfer.notebook.objects import extraction_card
from xfer.runs.shared import check_folder_shared, check_same_data

SAY_SECONDS = 10.0
NORMS = {
    "none": "as the net returns them",
    "l2": "each vector divided by its length",
    "power": "sign(x) sqrt(|x|) of each number (Perronnin et al. 2010, sec. 3.1)",
    "power-l2": "power, then l2",
}
DTYPES = {"float32": np.float32, "float16": np.float16}
ENDS = (".npz", ".parquet")


@dataclass(frozen=True, repr=False)
class Extraction:
    """The result of an extraction.

    computed | pictures run through the net; cached: those whose vectors were in the cache
    seconds  | from the first picture to the last, without start-up
    features | the rows, if they were not written to a file
    path     | the file, or None
    """

    computed: int
    cached: int
    seconds: float
    features: Features | None = None
    path: Path | None = None

    @property
    def images_per_second(self) -> float:
        return (self.computed + self.cached) / max(self.seconds, 1e-9)

    def __repr__(self) -> str:
        where = "memory" if self.path is None else str(self.path)
        return (f"<features of {self.computed + self.cached:,} pictures, {self.cached:,} of them "
                f"cached, in {where}>")  # fmt: skip

    def _repr_html_(self) -> str:
        return extraction_card(self.counts(), "" if self.path is None else str(self.path))

    def counts(self) -> dict[str, Any]:
        """{"computed", "cached", "seconds", "images_per_second"}, which `--json` prints."""
        return {
            "computed": self.computed,
            "cached": self.cached,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 2),
        }


@dataclass(frozen=True)
class Form:
    """How the numbers are written. dtype: float32 or float16; normalise: a key of NORMS."""

    dtype: str = "float32"
    normalise: str = "none"

    def check(self) -> None:
        """Raises XferError for an unknown dtype or normalisation."""
        if self.dtype not in DTYPES:
            raise XferError(f"unknown dtype {self.dtype!r}", nearest(self.dtype, DTYPES))
        if self.normalise not in NORMS:
            raise XferError(f"unknown normalise {self.normalise!r}", nearest(self.normalise, NORMS))

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """float32 (n, D) -> (n, D) normalised by row, of `dtype`; an all-zero row stays zero."""
        if "power" in self.normalise:
            rows = np.sign(rows) * np.sqrt(np.abs(rows))
        if "l2" in self.normalise:
            length = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.where(length > 0, length, 1)
        if self.dtype == "float16" and rows.size and np.abs(rows).max() > np.finfo(np.float16).max:
            raise XferError("a feature is too large for float16", "--dtype float32")
        return rows.astype(DTYPES[self.dtype], copy=False)


def extract(
    data: Any,
    out: Path | str | None = None,
    *,
    choice: Choice | None = None,
    form: Form | None = None,
    batch: int = 64,
    workers: int = -1,
    cache: bool = True,
    train: str = "",
    val: str = "",
    test: str = "",
    limit: int = 0,
    seed: int = 0,
    skip_bad: bool = False,
    verify: bool = True,
    data_keys: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> Extraction:
    """Runs a frozen net over every picture of a data set.

    Rows are in the order train, val, test, and within each in the source's order. No val split is
    made: if the data have none, everything is train. With `out`, memory stays constant; rows are
    in a folder beside the file until it is written. Cached vectors are not computed again, so a
    stopped extraction continues where it was. Under torchrun the processes share the pictures,
    and the first process writes; they need a shared disk.

    Args:
        data: a spec, or data in memory, see `xfer.data.sources.from_python`.
        out: FILE.npz, or FILE.parquet (for other programs, needs pyarrow); None: rows in memory,
            in every process.
        choice: net, layers, pool, crops; form: dtype and normalisation.
        batch: pictures per pass of the net.
        cache: look up and store vectors under $XFER_CACHE.
        train, val, test, limit, seed, skip_bad, verify: as in `open_data`.
        data_keys: images, ignore, path, label, split, changes, as in `open_data`.
        say: called with notes on the data, downloads and warnings.

    Raises: XferError for an unknown name, DataError for unusable data, weights or folders.
    """
    choice, form = choice or Choice(), form or Form()
    choice.check()
    form.check()
    target = None if out is None else _checked_target(Path(out))
    say = say or (lambda text: None)
    bundle = open_data(
        data, train=train, val=val, test=test, seed=seed, limit=limit,
        skip_bad=skip_bad, check=skip_bad, cut=False, **{"verify": verify, **(data_keys or {})},
    )  # fmt: skip
    for note in bundle.notes:
        say(note)
    with placed(choice.device, choice.precision) as place:
        if target is None:
            place = replace(place, rank=0, world=1)
        check_same_data(bundle.name, bundle.fingerprint() if place.world > 1 else "", place)
        net = load_net(choice, say, place)
        drawn = choice.weights == "none"
        say("weights: none, random" if drawn else net.report.line())
        if choice.size and net.side != choice.size:
            say(
                f"{choice.backbone} only takes squares of {net.side} px: pictures are scaled to "
                f"that, not to {choice.size} px"
            )
        say(f"on {place.describe()}")
        where = cache_file() if cache else None
        feature_cache = FeatureCache(where, limit_bytes(), lambda text: say(f"warning: {text}"))
        with ExitStack() as held:
            held.callback(feature_cache.close)
            count = _count(bundle)
            sink = _Memory(count) if target is None else _spool(target, count, place, held)
            held.callback(sink.close)
            start = time.perf_counter()
            counts = _fill(bundle, net, feature_cache, sink, form, place, batch, workers, say)
            sink.close()
            computed, cached = (sum(part) for part in zip(*gather(counts, place), strict=True))
            seconds = time.perf_counter() - start
            layers = sink.arrays(choice.layers)
            meta = describe(bundle, net, form, layers)
            meta["data"] |= {  # as requested: a probe is scored on the same pictures later
                "spec": str(data) if isinstance(data, (str, Path)) else python_name(data),
                "train": train,
                "val": val, "test": test, "limit": limit, "seed": seed, "skip_bad": skip_bad,
                **(data_keys or {}),
            }  # fmt: skip
            table = _features(bundle, layers, meta)
            if target is not None and place.main:
                _write(target, table, sink)
            gather(None, place)  # no process returns before the file exists
    in_memory = table if target is None else None
    return Extraction(computed, cached, seconds, in_memory, target)


@plugs.face("data", "backbone")
def features(
    data: Any,
    *,
    backbone: str = "alexnet",
    layer: str | Sequence[str] = "pool5",
    weights: str = "imagenet",
    pool: str = "flatten",
    crops: str = "centre",
    views: str = "mean",
    size: int = 0,
    normalise: str = "none",
    dtype: str = "float32",
    split: str = "",
    limit: int = 0,
    batch: int = 64,
    cache: bool = True,
    device: str = "auto",
    precision: str = "auto",
    workers: int = -1,
    train: str = "",
    val: str = "",
    test: str = "",
    seed: int = 0,
    skip_bad: bool = False,
    verify: bool = True,
    data_keys: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> tuple[Any, NDArray[Any]]:
    """Features of a data set in memory: `X, y = xfer.features("photos/", layer="fc7")`.

    Args:
        data: a spec, or data in memory: [(picture, label), ...], only pictures, (images, labels),
            a torchvision-style data set, a Source, or a dict of these by split.
        backbone: alexnet, resnet50, timm:NAME, ...; options: its own.
        layer: a name, or several: "pool5,fc7"; `xfer models show NAME` lists them.
        weights: imagenet, none (random), a file, or run:DIR.
        pool: how a map becomes a vector: flatten, avg, max or grid2.
        crops: centre, flip or 10crop; views: mean or concat.
        size: input side in pixels; 0: the net's own.
        normalise: none, l2, power or power-l2; dtype: float32 or float16.
        split: only train, val or test; empty: all of them, in that order.
        limit: the first N of each split, shuffled by `seed`; batch: pictures per pass of the net.
        cache: look up and store vectors under $XFER_CACHE.
        device: auto, cpu, cuda; precision: auto, fp32, bf16, fp16; workers: threads that read.
        train, val, test: names of splits; skip_bad, verify, data_keys: as in `extract`.
        trust: modules that may be imported besides those that data and backbone name.
        say: called with notes on the data, downloads and warnings.

    Returns: X (N, D), for several layers a dict by name; y int64 (N,), -1 unlabelled, or
        int8 (N, C) for multi-label data.
    Raises: XferError for an unknown name, DataError for data or weights that can't be used.
    """
    choice = Choice(
        backbone, weights, layer_names(layer), pool, crops, views, size, device, precision,
        fixed_options(options),
    )  # fmt: skip
    table = extract(
        data, choice=choice, form=Form(dtype, normalise), batch=batch, workers=workers, cache=cache,
        train=train, val=val, test=test, limit=limit, seed=seed, skip_bad=skip_bad, verify=verify,
        data_keys=data_keys, say=say,
    ).features  # fmt: skip
    assert table is not None
    roles = dict.fromkeys(table.splits.tolist())
    if split and split not in roles:
        name = data if isinstance(data, (str, Path)) else python_name(data)
        raise XferError(f"{name}: no split {split!r}", f"it has {', '.join(roles)}")
    rows = np.flatnonzero(table.splits == split) if split else slice(None)
    layers = {name: array[rows] for name, array in table.layers.items()}
    return (layers if len(layers) > 1 else next(iter(layers.values()))), table.y[rows]


def describe(
    bundle: Bundle, net: FeatureNet, form: Form, layers: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """How features were made, as JSON types: the `meta` of a features file."""
    choice = net.choice
    return {
        "backbone": choice.backbone,
        "options": dict(choice.options),
        "weights": {
            "spec": choice.weights, "source": net.report.source,
            "file_sha256": net.report.digest, "digest": net.digest,
        },
        "layers": {name: int(array.shape[1]) for name, array in layers.items()},
        "pool": choice.pool,
        "crops": choice.crops,
        "views": choice.views,
        "normalise": form.normalise,
        "dtype": form.dtype,
        "preprocess": asdict(net.preprocess),
        "precision": net.place.precision,
        "device": net.place.device.type,
        "data": {
            "spec": bundle.name, "format": bundle.format, "kind": bundle.kind,
            "fingerprint": bundle.fingerprint(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("xfer", "torch", "numpy", "simplejpeg")},
        },
    }  # fmt: skip


class _Memory:
    """Rows in memory, with the methods of a Spool."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._layers: dict[str, NDArray[Any]] = {}

    def write(self, rows: NDArray[np.int64], layers: Mapping[str, NDArray[Any]]) -> None:
        for name, values in layers.items():
            if name not in self._layers:
                self._layers[name] = np.empty((self.count, *values.shape[1:]), values.dtype)
            self._layers[name][rows] = values

    def arrays(self, layers: Sequence[str]) -> dict[str, NDArray[Any]]:
        return {name: self._layers[name] for name in layers}

    def close(self) -> None:
        """No file is open."""


def _spool(target: Path, count: int, place: Place, held: ExitStack) -> Spool:
    """One spool for all processes, in a folder that the first process makes, and removes in the
    end."""
    folder = broadcast(enter_on_main(lambda: spool_folder(target), held, place), place)
    check_folder_shared(folder, place)
    return Spool(target, folder, count)


def _count(bundle: Bundle) -> int:
    return sum(len(source) for source in bundle.splits.values())


def _fill(
    bundle: Bundle, net: FeatureNet, feature_cache: FeatureCache, sink: Spool | _Memory, form: Form,
    place: Place, batch: int, workers: int, say: Callable[[str], None],
) -> tuple[int, int]:  # fmt: skip
    """Writes this process's rows; returns how many were computed and how many were cached."""
    computed = cached = first = 0
    odd: list[tuple[str, Remark]] = []
    count, begin = _count(bundle), time.monotonic()
    last_said = begin
    for source in bundle.splits.values():
        stream = parts(
            source,
            net,
            feature_cache,
            batch=batch,
            workers=workers,
            rank=place.rank,
            world=place.world,
            odd=odd,
            say=say,
        )
        for part in _hinted(stream):
            sink.write(first + part.rows, {name: form(v) for name, v in part.layers.items()})
            computed += part.computed
            cached += len(part.rows) - part.computed
            done, now = (computed + cached) * place.world, time.monotonic()
            if now - last_said > SAY_SECONDS:
                last_said = now
                speed = done / (now - begin)
                say(f"{done} of {count} pictures, {speed:.0f} per second, "
                    f"{(count - done) / speed:.0f} s left")  # fmt: skip
        first += len(source)
    said = {finding.check for finding in bundle.findings}  # with skip_bad all were looked at
    for finding in odd_pictures(odd):
        if finding.check not in said:
            say(f"warning: {finding.text}")
    return computed, cached


def _hinted(stream: Iterator[Part]) -> Iterator[Part]:
    """The parts; the error for a picture that can't be read gets this command's hint."""
    try:
        yield from stream
    except DecodeError as error:
        hint = "remove it, or --skip-bad; finished vectors stay in the cache"
        raise DataError(error.message, hint) from error


def _features(bundle: Bundle, layers: Mapping[str, NDArray[Any]], meta: dict[str, Any]) -> Features:
    """The layers with labels, ids and splits from the data."""
    splits = bundle.splits
    y = np.concatenate([source.labels() for source in splits.values()])
    ids = [name for source in splits.values() for name in source.ids]
    roles = [role for role, source in splits.items() for _ in range(len(source))]
    return Features(
        layers, y, np.array(ids, np.str_), np.array(bundle.classes, np.str_),
        np.array(roles, np.str_), meta,
    )  # fmt: skip


def _checked_target(out: Path) -> Path:
    """The file to write. Raises XferError for a name without a known extension."""
    if out.suffix not in ENDS:
        raise XferError(f"{out}: unknown file extension", f"-o FILE{' or FILE'.join(ENDS)}")
    if out.is_dir():
        raise XferError(f"{out} is a folder", "-o FILE.npz")
    if out.suffix == ".parquet":
        check_parquet()
    return out


def _write(target: Path, table: Features, sink: Spool | _Memory) -> None:
    if target.suffix == ".parquet":
        write_parquet(target, table)
    elif isinstance(sink, Spool):
        sink.finish(list(table.layers), replace(table, layers={}))
