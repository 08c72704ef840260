"""`xfer features`: a data set, a frozen net and its layers -> a features file or arrays."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import plugs
from xfer.data.open import open_data
from xfer.data.sources.base import Bundle
from xfer.data.sources.from_python import python_name
from xfer.data.streams.shards import is_stream
from xfer.device import Place, broadcast, enter_on_main, gather, placed
from xfer.errors import XferError
from xfer.exit_codes import apart
from xfer.extraction.cache import FeatureCache, cache_file, limit_bytes
from xfer.extraction.fill import Memory, Work, fill
from xfer.extraction.form import Form
from xfer.extraction.meta import describe
from xfer.extraction.net import Choice, FeatureNet, fixed_options, layer_names, load_net
from xfer.extraction.parquet import check_parquet, write_parquet
from xfer.extraction.parts import about_part, is_whole, part_of, parts_folder
from xfer.extraction.store import Features, Spool, spool_folder, write_features
from xfer.extraction.streamed import Growing, Shards, check_asked, fill_streamed
from xfer.notebook.objects import extraction_card
from xfer.parts.folder import PartsFolder
from xfer.parts.part import parse_part
from xfer.proposals.propose import MAX_BOXES, check_method
from xfer.proposals.region_source import BACKGROUND, region_source
from xfer.runs.shared import check_folder_shared, check_same_data

ENDS = (".npz", ".parquet")


@dataclass(frozen=True, repr=False)
class Extraction:
    """The result of an extraction.

    computed | pictures run through the net; cached: those whose vectors were in the cache
    seconds  | from the first picture to the last, without start-up
    features | the rows, if they were not written to a file
    path     | the file, or None
    part     | "1/3" of a part; finished: it was there already
    """

    computed: int
    cached: int
    seconds: float
    features: Features | None = None
    path: Path | None = None
    part: str = ""
    finished: bool = False

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
    part: str = "",
    ending: str = ".npz",
    proposals: str = "",
    most: int = MAX_BOXES,
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
        part: do only this part, "1/3" or "auto", see `xfer.parts.part`; `out` is then the folder
            of all parts, whose files end in `ending`, .npz or .parquet. A finished part is not
            done again. Batches are not cut, so that the parts, joined, equal one extraction.
            Nothing is cached: the parts are what is kept.
        proposals: a row per region of pictures with boxes instead of one per picture: their true
            boxes, and proposals by selective_search, grid or file:PATH, at most `most` each; see
            `xfer.proposals.region_source`.
        say: called with notes on the data, downloads and warnings.

    Raises: XferError for an unknown name, and for a folder with parts of something else; DataError
        for unusable data, weights or folders.
    """
    choice, form = choice or Choice(), form or Form()
    choice.check()
    form.check()
    say = say or (lambda text: None)
    if proposals:
        check_method(proposals)
    asked: dict[str, Any] = {
        "train": train, "val": val, "test": test, "limit": limit, "seed": seed,
        "skip_bad": skip_bad, **(data_keys or {}),
        **({"proposals": proposals, "most": most} if proposals else {}),
    }  # fmt: skip
    spec = str(data) if isinstance(data, (str, Path)) else python_name(data)
    folder = None
    with ExitStack() as held:
        if part:
            if part.startswith("auto"):
                part = str(parse_part(part))
                held.enter_context(apart())
            own = asdict(replace(choice, device=""))  # "made" has the kind of device in use
            folder = parts_folder(out, part, ending, {
                "data": spec, **asked, "net": own, "form": asdict(form), "batch": batch
            })  # fmt: skip
            cache = False  # the parts are what is kept, and a cache on a shared disk would be slow
            if folder.finished() and is_whole(folder.file, say):
                return Extraction(0, 0, 0.0, None, folder.file, part, True)
            target = folder.file
        else:
            target = None if out is None else _checked_target(Path(out))
        if is_stream(data):
            place = held.enter_context(placed(choice.device, choice.precision))
            return _extract_streamed(
                str(data), target, folder, choice, form, batch, workers, asked, place, held, say
            )
        bundle = open_data(
            data, train=train, val=val, test=test, seed=seed, limit=limit, skip_bad=skip_bad,
            check=skip_bad and folder is None, cut=False, kind=("detect",) if proposals else (),
            **{"verify": verify, **(data_keys or {})},
        )  # fmt: skip
        for note in bundle.notes:
            say(note)
        place = held.enter_context(placed(choice.device, choice.precision))
        if target is None:
            place = replace(place, rank=0, world=1)
        check_same_data(bundle.name, bundle.fingerprint() if place.world > 1 else "", place)
        net = load_net(choice, say, place)
        _tell(net, say)
        if proposals:
            bundle = _of_regions(bundle, proposals, most, net, say)
        if folder is None:
            rows = [np.arange(len(source)) for source in bundle.splits.values()]
        else:
            enter_on_main(lambda: _begun(folder, bundle, net, form), held, place)
            rows = part_of(bundle, folder.part, batch, skip_bad, say)
        work = Work(bundle, rows, place, batch, workers, say)
        where = cache_file() if cache else None
        feature_cache = FeatureCache(where, limit_bytes(), lambda text: say(f"warning: {text}"))
        held.callback(feature_cache.close)
        sink = Memory(work.count) if target is None else _spool(target, work.count, place, held)
        held.callback(sink.close)
        start = time.perf_counter()
        counts = fill(work, net, feature_cache, sink, form)
        sink.close()
        computed, cached = (sum(some) for some in zip(*gather(counts, place), strict=True))
        seconds = time.perf_counter() - start
        layers = sink.arrays(choice.layers) if work.count else _empty(net, form)
        widths = {name: int(array.shape[1]) for name, array in layers.items()}
        meta = describe(bundle, net, form, widths)
        # as requested: a probe is scored on the same pictures later
        meta["data"] |= {"spec": spec, **asked}
        if folder is not None:
            meta["part"] = about_part(folder.part, bundle, rows)
        table = _features(work, layers, meta)
        if target is not None and place.main:
            _write(target, table, sink)
        gather(None, place)  # no process returns before the file exists
    in_memory = table if target is None else None
    return Extraction(computed, cached, seconds, in_memory, target, part)


def _extract_streamed(
    spec: str, target: Path | None, folder: PartsFolder | None, choice: Choice, form: Form,
    batch: int, workers: int, asked: dict[str, Any], place: Place, held: ExitStack,
    say: Callable[[str], None],
) -> Extraction:  # fmt: skip
    """`extract` of a stream, which has no rows that could be counted beforehand."""
    check_asked(spec, asked)
    if target is None or place.world > 1:
        what = "in memory" if target is None else f"shared by {place.world} processes"
        raise XferError(f"{spec}: the features of a stream are not {what}", "--part auto -o parts/")
    shards = Shards(spec)
    bundle = shards.bundle()
    net = load_net(choice, say, place)
    _tell(net, say)
    if folder is not None:
        folder.begin(describe(bundle, net, form, {}))
    sink = Growing(target, held.enter_context(spool_folder(target)), 0)
    held.callback(sink.close)
    start = time.perf_counter()
    part = None if folder is None else folder.part
    found = fill_streamed(
        shards, part, net, sink, form, batch, workers, bool(asked["skip_bad"]), say
    )
    sink.grow(len(found.ids))
    sink.close()
    seconds = time.perf_counter() - start
    layers = sink.arrays(choice.layers) if found.ids else _empty(net, form)
    meta = describe(bundle, net, form, {n: int(array.shape[1]) for n, array in layers.items()})
    meta["data"] |= {"spec": spec, **asked}
    if part is not None:
        meta["part"] = {"part": str(part), "rows": len(found.ids), "of": None}
    classes = [str(k) for k in range(max(found.labels, default=-1) + 1)]
    table = Features(
        layers, np.array(found.labels, np.int64), np.array(found.ids, np.str_),
        np.array(classes, np.str_), np.array(["train"] * len(found.ids), np.str_), meta,
    )  # fmt: skip
    _write(target, table, sink)
    return Extraction(len(found.ids), 0, seconds, None, target, str(part or ""))


def _of_regions(
    bundle: Bundle, method: str, most: int, net: FeatureNet, say: Callable[[str], None]
) -> Bundle:
    """The regions of a bundle's pictures as pictures, warped to what the net sees."""
    about, colour = net.preprocess, net.net.mean_colour
    splits: dict[str, Any] = {}
    for role, source in bundle.splits.items():
        regions = region_source(source, method, most, about.resize, about.size, colour, say)
        say(f"{role}: {len(regions):,} regions of {len(source):,} pictures")
        splits[role] = regions
    classes = (*bundle.classes, BACKGROUND)
    return replace(bundle, kind="classify", classes=classes, splits=splits)


@contextlib.contextmanager
def _begun(folder: PartsFolder, bundle: Bundle, net: FeatureNet, form: Form) -> Iterator[None]:
    """Context of a part that is being made, in a folder that says of what."""
    folder.begin(describe(bundle, net, form, {}))
    yield


def _tell(net: FeatureNet, say: Callable[[str], None]) -> None:
    """Says with which weights and where the net computes."""
    choice = net.choice
    say("weights: none, random" if choice.weights == "none" else net.report.line())
    if choice.size and net.side != choice.size:
        say(
            f"{choice.backbone} only takes squares of {net.side} px: pictures are scaled to "
            f"that, not to {choice.size} px"
        )
    say(f"on {net.place.describe()}")


def _empty(net: FeatureNet, form: Form) -> dict[str, NDArray[Any]]:
    """The layers of a part without pictures."""
    return {name: form(np.zeros((0, width), np.float32)) for name, width in net.widths().items()}


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
    proposals: str = "",
    most: int = MAX_BOXES,
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
        train, val, test: names of splits; skip_bad, verify, proposals, most, data_keys: as in
            `extract`.
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
        proposals=proposals, most=most, data_keys=data_keys, say=say,
    ).features  # fmt: skip
    assert table is not None
    roles = dict.fromkeys(table.splits.tolist())
    if split and split not in roles:
        name = data if isinstance(data, (str, Path)) else python_name(data)
        raise XferError(f"{name}: no split {split!r}", f"it has {', '.join(roles)}")
    rows = np.flatnonzero(table.splits == split) if split else slice(None)
    layers = {name: array[rows] for name, array in table.layers.items()}
    return (layers if len(layers) > 1 else next(iter(layers.values()))), table.y[rows]


def _spool(target: Path, count: int, place: Place, held: ExitStack) -> Spool:
    """One spool for all processes, in a folder that the first process makes, and removes in the
    end."""
    folder = broadcast(enter_on_main(lambda: spool_folder(target), held, place), place)
    check_folder_shared(folder, place)
    return Spool(target, folder, count)


def _features(work: Work, layers: Mapping[str, NDArray[Any]], meta: dict[str, Any]) -> Features:
    """The layers with labels, ids and splits from the data."""
    splits = dict(zip(work.bundle.splits.items(), work.rows, strict=True))
    y = np.concatenate([source.labels()[rows] for (_, source), rows in splits.items()])
    ids = [source.ids[i] for (_, source), rows in splits.items() for i in rows.tolist()]
    roles = [role for (role, _), rows in splits.items() for _ in range(len(rows))]
    return Features(
        layers, y, np.array(ids, np.str_), np.array(work.bundle.classes, np.str_),
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


def _write(target: Path, table: Features, sink: Spool | Memory) -> None:
    if target.suffix == ".parquet":
        write_parquet(target, table)
    elif not len(table):
        write_features(target, table)
    elif isinstance(sink, Spool):
        sink.finish(list(table.layers), replace(table, layers={}))
