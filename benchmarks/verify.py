"""What comparing checksums costs: loading, resuming, packs, features and an epoch from a pack.

Each figure is a ratio of processor seconds, with the checksums over without, of the same work in
the same process: the two take turns, and the median over the rounds is reported. So other jobs on
the machine may double a round, but hardly its ratio. The defaults take a few minutes on two cores.

load       | xfer.load(RUN), the weights in the page cache
load_wall  | the same in seconds of the clock, where a second core compares while the net is made:
           | it means something only on a machine that is idle
load_before | the same over a load without checksums that draws random weights first, as it was
           | before runs had checksums
predict    | `xfer predict RUN PICTURE`, the whole command: what is added by the checksums, over the
           | command's seconds without them, so that it is told from the noise of a command
read_state | last/state.pt read
resume     | `xfer finetune --resume RUN`, the whole command, as for predict: one step is left
open_pack  | a pack opened, with its index and tables
read_jpeg, read_raw | an epoch read, decoded and cut as in training, by one thread, each picture for
           | the first time in the process
epoch_jpeg, epoch_raw | what that adds to an epoch of resnet18 at 96 px on the processor, the first
probe      | a features file read, and a probe fitted and scored
lookup     | vectors found in the cache of features

Also mb_per_second of sha256, xxh3 and crc32 here.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import harness
import numpy as np
import PIL.Image
import xxhash

Variant = Callable[[], Any]


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Context: weights and states are not compared."""
    from xfer.backbones import safe_file
    from xfer.runs import checkpoint

    nothing = mock.Mock(return_value=None)
    with (
        mock.patch.object(safe_file, "check", nothing),
        mock.patch.object(checkpoint, "check_numbers", nothing),
        mock.patch.object(checkpoint, "_check_sum", nothing),
        mock.patch.object(checkpoint, "_tensors", lambda state: ()),
    ):
        yield


@contextlib.contextmanager
def drawn() -> Iterator[None]:
    """Context: a run is loaded as it was before: unchecked, its random weights drawn first."""
    with unchecked(), mock.patch("xfer.inference.model.Undrawn", contextlib.nullcontext):
        yield


class Turns:
    """Seconds of work with checksums and without, which took turns; who is first alternates."""

    def __init__(
        self, rounds: int, checked: Variant, plain: Variant,
        clock: Callable[[], float] = time.process_time,
    ) -> None:  # fmt: skip
        self.pairs: list[tuple[float, float]] = []
        for variant in (checked, plain):
            variant()
        for number in range(rounds):
            spent: dict[bool, float] = {}
            for first in (number % 2 == 0, number % 2 != 0):
                start = clock()
                (checked if first else plain)()
                spent[first] = clock() - start
            self.pairs.append((spent[True], spent[False]))

    @property
    def ratio(self) -> float:
        """The median of checked / plain."""
        return statistics.median(one / other for one, other in self.pairs)

    @property
    def added(self) -> float:
        """The median of checked - plain."""
        return statistics.median(one - other for one, other in self.pairs)


def command(work: Turns, *words: str) -> float:
    """1 + what the checksums add to work that a command does, as a share of the command."""
    before = os.times()
    subprocess.run([sys.executable, "-m", "xfer", *words], check=True, capture_output=True)
    after = os.times()
    whole = after.children_user - before.children_user
    whole += after.children_system - before.children_system
    return 1 + work.added / (whole - work.added)


def without(context: Callable[[], Any], work: Variant) -> Variant:
    """The work within a context."""

    def run() -> Any:
        with context():
            return work()

    return run


def runs(folder: Path, rounds: int, net: str) -> dict[str, float]:
    """Loading, predicting and resuming a run of a net."""
    import xfer
    from xfer.runs import checkpoint

    run, going = folder / "run", folder / "going"
    common: dict[str, Any] = {
        "backbone": net, "weights": "none", "batch": 16, "limit": 64, "device": "cpu",
        "verbosity": -1, "data__augment": "none", "run__plots": False, "eval__tta": "none",
        "data__size": 96,
    }  # fmt: skip
    xfer.finetune("digits", out=run, schedule__steps=1, **common)
    # a run that was stopped before its last step
    with mock.patch("xfer.train.loop.finish", return_value={}):
        xfer.finetune("digits", out=going, schedule__steps=2, run__save_minutes=1e-9, **common)
    state = folder / "state.pt"
    shutil.copy(going / "last" / "state.pt", state)
    picture = folder / "x.png"
    PIL.Image.new("RGB", (224, 224)).save(picture)

    def load() -> None:
        xfer.load(run, device="cpu")

    def read() -> None:
        checkpoint.load_state(state)

    loaded = Turns(rounds, load, without(unchecked, load))
    state_read = Turns(rounds, read, without(unchecked, read))
    return {
        "load": loaded.ratio,
        "load_wall": Turns(rounds, load, without(unchecked, load), time.perf_counter).ratio,
        "load_before": Turns(rounds, load, without(drawn, load)).ratio,
        "predict": command(loaded, "predict", str(run), str(picture), "--device", "cpu"),
        "read_state": state_read.ratio,
        "resume": command(state_read, "finetune", "--resume", str(going)),
    }


def packs(folder: Path, rounds: int, count: int) -> dict[str, float]:
    """Opening a pack, reading it as training does, and the share of that in an epoch."""
    import xfer
    from xfer.data.open import open_data
    from xfer.data.pack.writer import Packing, pack
    from xfer.data.transforms.crops import TrainTransform
    from xfer.testing.source import SyntheticSource

    found: dict[str, float] = {}
    source = SyntheticSource(count, size=256)
    cut = TrainTransform(224)
    for name, raw in (("jpeg", False), ("raw", True)):
        where = folder / name
        pack(source, where, Packing(side=0, raw=raw))

        def opened(verify: bool, where: Path = where) -> Any:
            return open_data(str(where), val="none", check=False, find=False, verify=verify)

        def read(verify: bool, opened: Any = opened) -> None:
            split = opened(verify).splits["train"]
            rng = np.random.default_rng(0)
            for i in range(len(split)):
                cut(split[i].image, rng)

        reading = Turns(rounds, lambda r=read: r(True), lambda r=read: r(False))
        found[f"read_{name}"] = reading.ratio
        few = min(96, count)
        start = time.process_time()
        xfer.finetune(
            str(where), out=folder / f"trained_{name}", backbone="resnet18", weights="none",
            epochs=1, batch=32, limit=few, val="none", device="cpu", verbosity=-1, data__size=96,
            data__cache_mb=0, run__plots=False, verify=False, workers=0,
        )  # fmt: skip
        epoch = (time.process_time() - start) / few
        found[f"epoch_{name}"] = 1 + reading.added / count / epoch
        if not raw:
            opening = Turns(rounds, lambda o=opened: o(True), lambda o=opened: o(False))
            found["open_pack"] = opening.ratio
    return found


def probes(folder: Path, rounds: int, count: int) -> dict[str, float]:
    """A features file read and probed; vectors found in the cache."""
    from xfer import cache
    from xfer.extraction.store import Features, write_features
    from xfer.probing.run import probe

    rng = np.random.default_rng(0)
    y = np.arange(count) % 4
    vectors = rng.standard_normal((count, 2048), np.float32)
    vectors[np.arange(count), y] += 3
    splits = np.where(np.arange(count) % 5, "train", "val")
    names = np.array([f"{i:06d}.jpg" for i in range(count)], str)
    meta = {
        "backbone": "resnet50", "options": {}, "weights": {"spec": "none", "file_sha256": ""},
        "data": {"spec": "digits", "kind": "classify", "fingerprint": ""},
        "preprocess": {"size": 224}, "dtype": "float32", "normalise": "none", "pool": "avg",
        "crops": "centre", "views": "mean", "precision": "fp32", "layers": {"pool": 2048},
    }  # fmt: skip
    file = folder / "f.npz"
    classes = np.array(list("abcd"), str)
    write_features(file, Features({"pool": vectors}, y, names, classes, splits, meta))

    def fit(verify: bool) -> None:
        probe(file, "ridge", out=folder / "probe", overwrite=True, verify=verify)

    kept = cache.Cache(folder / "cache", 2**34)
    keys = [hashlib.sha256(str(i).encode()).digest() for i in range(count)]
    kept.keep({key: vectors[i] for i, key in enumerate(keys)})

    def look() -> None:
        for _ in range(20):  # one pass takes a few milliseconds
            for key in keys:
                kept.find([key])

    def plain() -> None:
        after = 1 + cache._SUM_BYTES
        with mock.patch.object(cache, "opened", lambda key, entry: cache.unpacked(entry[after:])):
            look()

    return {
        "probe": Turns(rounds, lambda: fit(True), lambda: fit(False)).ratio,
        "lookup": Turns(rounds, look, plain).ratio,
    }


def speeds() -> dict[str, float]:
    """MB per second of the checksums, of pictures of 256 px one after another."""
    data = np.random.default_rng(0).integers(0, 256, (400, 256 * 256 * 3), np.uint8)
    found: dict[str, float] = {}
    for name, work in (
        ("sha256", hashlib.sha256), ("xxh3", xxhash.xxh3_64_intdigest), ("crc32", zlib.crc32),
    ):  # fmt: skip
        spent: list[float] = []
        for _ in range(5):
            start = time.process_time()
            for picture in data:
                work(picture)
            spent.append(time.process_time() - start)
        found[f"{name}_mb_per_second"] = data.nbytes / 1e6 / min(spent)
    return found


def main() -> None:
    assert __doc__
    arguments = harness.parser(__doc__, 9)
    arguments.add_argument("--net", default="resnet50", help="of the runs (%(default)s)")
    arguments.add_argument("--images", type=int, default=600, help="pictures (%(default)s)")
    given: argparse.Namespace = arguments.parse_args()
    rounds = 1 if given.quick else given.rounds
    count = 40 if given.quick else given.images
    print(harness.machine("cpu"))
    results: dict[str, Any] = speeds()
    net = "resnet18" if given.quick else given.net
    with tempfile.TemporaryDirectory() as folder:
        for part in (
            lambda: runs(Path(folder), rounds, net),
            lambda: packs(Path(folder), rounds, count),
            lambda: probes(Path(folder), rounds, count),
        ):
            found = part()
            print(", ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)
            results |= found
    harness.report(results, given.json)


if __name__ == "__main__":
    main()
