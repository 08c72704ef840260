"""`xfer features`: a data set, a frozen net and its layers -> a features file or arrays."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import plugs
from xfer.data.images.decode import DecodeError
from xfer.data.open import open_data
from xfer.data.sources.base import Bundle
from xfer.data.sources.from_python import python_name
from xfer.device import Place, broadcast, gather, placed
from xfer.errors import DataError, XferError, nearest
from xfer.extraction.cache import FeatureCache, cache_file, limit_bytes
from xfer.extraction.net import Choice, FeatureNet, fixed_options, layer_names, load_net
from xfer.extraction.parquet import check_parquet, write_parquet
from xfer.extraction.store import Features, Spool, spool_folder
from xfer.extraction.stream import Part, parts

SAY_SECONDS = 10.0
NORMS = {
    "none": "as the net gives them",
    "l2": "each vector divided by its length",
    "power": "sign(x) sqrt(|x|) of each number (Perronnin et al. 2010, sec. 3.1)",
    "power-l2": "power, then l2",
}
DTYPES = {"float32": np.float32, "float16": np.float16}
ENDS = (".npz", ".parquet")


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    computed | pictures that the net has seen; cached: those whose vectors were known
    seconds  | from the first picture to the last, start-up left out
    features | the rows, where they were not written to a file
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

    def counts(self) -> dict[str, Any]:
        """{"computed", "cached", "seconds", "images_per_second"}: what `--json` prints."""
        return {
            "computed": self.computed,
            "cached": self.cached,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 2),
        }


@dataclass(frozen=True)
class Form:
    """How the numbers are written. dtype: float32 or float16; normalise: a word of NORMS."""

    dtype: str = "float32"
    normalise: str = "none"

    def check(self) -> None:
        """Raises XferError for a word that is not there."""
        if self.dtype not in DTYPES:
            raise XferError(f"unknown dtype {self.dtype!r}", nearest(self.dtype, DTYPES))
        if self.normalise not in NORMS:
            raise XferError(f"unknown normalise {self.normalise!r}", nearest(self.normalise, NORMS))

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """float32 (n, D) -> (n, D) normalised row by row, of `dtype`; an all-zero row stays so."""
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
    say: Callable[[str], None] | None = None,
) -> Extraction:
    """Runs a frozen net over every picture of a data set.

    Rows are in the order train, val, test, within each in the source's. No val split is cut:
    where the data have none, everything is train. With `out`, memory stays flat; rows lie in a
    folder beside it until the file is written. What is cached is not computed again, so a stopped
    extraction goes on where it was. Under torchrun the processes share the pictures, each once,
    and the first writes; they must see the same disk.

    Args:
        data: a spec, or data in memory, see `xfer.data.sources.from_python`.
        out: FILE.npz, or FILE.parquet (for other programs, needs pyarrow); None: in memory, all of
            it in every process.
        choice: net, layers, pool, crops; form: dtype and normalisation.
        batch: pictures that the net sees at a time.
        cache: look up and keep vectors under $XFER_CACHE.
        train, val, test, limit, seed, skip_bad: as in `open_data`.
        say: told what was found, downloads, warnings.

    Raises: XferError for a wrong word, DataError for data, weights or a folder that can't be used.
    """
    choice, form = choice or Choice(), form or Form()
    choice.check()
    form.check()
    target = None if out is None else _checked_target(Path(out))
    say = say or (lambda text: None)
    bundle = open_data(
        data, train=train, val=val, test=test, seed=seed, limit=limit,
        skip_bad=skip_bad, check=skip_bad, cut=False,
    )  # fmt: skip
    for note in bundle.notes:
        say(note)
    with placed(choice.device, choice.precision) as place:
        if target is None:
            place = replace(place, rank=0, world=1)
        net = load_net(choice, say)
        drawn = choice.weights == "none"
        say("weights: none, drawn at random" if drawn else net.report.line())
        if choice.size and net.side != choice.size:
            say(
                f"{choice.backbone} sees squares of {net.side} px alone: pictures are scaled to "
                f"it, not to {choice.size} px"
            )
        say(f"on {place.describe()}")
        where = cache_file() if cache else None
        known = FeatureCache(where, limit_bytes(), lambda text: say(f"warning: {text}"))
        sink = _Memory(_count(bundle)) if target is None else _spool(target, _count(bundle), place)
        try:
            start = time.perf_counter()
            made = _fill(bundle, net, known, sink, form, place, batch, workers, say)
            sink.close()
            computed, cached = (sum(part) for part in zip(*gather(made, place), strict=True))
            seconds = time.perf_counter() - start
            layers = sink.arrays(choice.layers)
            meta = describe(bundle, net, form, layers)
            meta["data"] |= {  # as it was asked for: a probe is scored on the same pictures later
                "spec": str(data) if isinstance(data, (str, Path)) else python_name(data),
                "train": train,
                "val": val, "test": test, "limit": limit, "seed": seed, "skip_bad": skip_bad,
            }  # fmt: skip
            found = _features(bundle, layers, meta)
            if target is not None and place.main:
                _write(target, found, sink)
            gather(None, place)  # nobody returns before the file is there
        finally:
            known.close()
            try:
                sink.close()
            finally:
                if place.main:
                    sink.remove()
    kept = found if target is None else None
    return Extraction(computed, cached, seconds, kept, target)


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
    device: str = "auto",
    precision: str = "auto",
    options: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
    **settings: Any,
) -> tuple[Any, NDArray[Any]]:
    """Features of a data set in memory: `X, y = xfer.features("photos/", layer="fc7")`.

    Args:
        data: a spec, or data in memory: [(picture, label), ...], pictures alone, (images, labels),
            a data set of torchvision's kind, a Source, or a dict of these by split.
        layer: a name, or several: "pool5,fc7".
        split: train, val or test alone; empty: all of them, in that order.
        trust: modules that may be imported beside those that data and backbone name.
        options: of the backbone; settings: batch, workers, cache, limit, ... of `extract`.

    Returns: X (N, D), for several layers a dict of them by name; y int64 (N,), -1 unlabelled, or
        int8 (N, C) for multi-label data.
    Raises: XferError for a wrong word, DataError for data or weights that can't be used.
    """
    choice = Choice(
        backbone, weights, layer_names(layer), pool, crops, views, size, device, precision,
        fixed_options(options),
    )  # fmt: skip
    found = extract(data, choice=choice, form=Form(dtype, normalise), **settings).features
    assert found is not None
    roles = dict.fromkeys(found.splits.tolist())
    if split and split not in roles:
        name = data if isinstance(data, (str, Path)) else python_name(data)
        raise XferError(f"{name}: no split {split!r}", f"it has {', '.join(roles)}")
    rows = np.flatnonzero(found.splits == split) if split else slice(None)
    layers = {name: array[rows] for name, array in found.layers.items()}
    return (layers if len(layers) > 1 else next(iter(layers.values()))), found.y[rows]


def describe(
    bundle: Bundle, net: FeatureNet, form: Form, layers: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """How features were made, in JSON's types: the `meta` of a features file."""
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
    """Rows in memory, under the names of a Spool's methods."""

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
        """Nothing is open."""

    def remove(self) -> None:
        """Nothing lies anywhere."""


def _spool(target: Path, count: int, place: Place) -> Spool:
    """One spool for all processes, in a folder that the first one makes."""
    folder = broadcast(spool_folder(target) if place.main else None, place)
    if not folder.is_dir():
        raise DataError(f"{folder}: not seen by process {place.rank}", "-o on a shared disk")
    return Spool(target, folder, count)


def _count(bundle: Bundle) -> int:
    return sum(len(source) for source in bundle.splits.values())


def _fill(
    bundle: Bundle, net: FeatureNet, known: FeatureCache, sink: Spool | _Memory, form: Form,
    place: Place, batch: int, workers: int, say: Callable[[str], None],
) -> tuple[int, int]:  # fmt: skip
    """Writes this process's rows; returns how many were computed and how many were known."""
    computed = cached = first = 0
    count, begin = _count(bundle), time.monotonic()
    told = begin
    for source in bundle.splits.values():
        stream = parts(
            source, net, known, batch=batch, workers=workers, rank=place.rank, world=place.world
        )
        for part in _hinted(stream):
            sink.write(first + part.rows, {name: form(v) for name, v in part.layers.items()})
            computed += part.computed
            cached += len(part.rows) - part.computed
            done, now = (computed + cached) * place.world, time.monotonic()
            if now - told > SAY_SECONDS:
                told = now
                speed = done / (now - begin)
                say(f"{done} of {count} pictures, {speed:.0f} a second, "
                    f"{(count - done) / speed:.0f} s left")  # fmt: skip
        first += len(source)
    return computed, cached


def _hinted(stream: Iterator[Part]) -> Iterator[Part]:
    """The parts; a picture that can't be read is reported with the words of this command."""
    try:
        yield from stream
    except DecodeError as error:
        hint = "remove it, or --skip-bad; what was computed so far is kept in the cache"
        raise DataError(error.message, hint) from error


def _features(bundle: Bundle, layers: Mapping[str, NDArray[Any]], meta: dict[str, Any]) -> Features:
    """The layers with what the data say of their rows."""
    splits = bundle.splits
    y = np.concatenate([source.labels() for source in splits.values()])
    ids = [name for source in splits.values() for name in source.ids]
    roles = [role for role, source in splits.items() for _ in range(len(source))]
    return Features(
        layers, y, np.array(ids, np.str_), np.array(bundle.classes, np.str_),
        np.array(roles, np.str_), meta,
    )  # fmt: skip


def _checked_target(out: Path) -> Path:
    """The file to write. Raises XferError for a name that says no known form."""
    if out.suffix not in ENDS:
        raise XferError(f"{out}: unknown ending", f"-o FILE{' or FILE'.join(ENDS)}")
    if out.is_dir():
        raise XferError(f"{out} is a folder", "-o FILE.npz")
    if out.suffix == ".parquet":
        check_parquet()
    return out


def _write(target: Path, found: Features, sink: Spool | _Memory) -> None:
    if target.suffix == ".parquet":
        write_parquet(target, found)
    elif isinstance(sink, Spool):
        sink.finish(list(found.layers), replace(found, layers={}))
