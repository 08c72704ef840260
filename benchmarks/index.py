"""Opens a set of ImageNet's size, and measures the cost per picture as sets grow.

The training set is a tar of a few hundred real JPEGs; its index has the requested number of
synthetic entries, 1000 classes, ImageNet-like names, each pointing at one of the real pictures. It
is stored where `imagenet:DIR` looks for it, so everything that follows is as in a run.

seconds | open_data("imagenet:DIR") with both splits, labels, fingerprint, the order of an epoch and
        | its first batch's positions; in a new process, with the index stored, without imports
mb      | growth of the process's peak resident memory meanwhile, including mapped pages

--growth also draws seconds and bytes per picture for 10^3 to 10^7 entries.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

IMAGENET = 1_281_167
REAL = 200
CLASSES = 1000
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 10_000_000)


def write_tars(folder: Path) -> None:
    """Tars of a few real JPEGs with ImageNet's names, and the devkit that labels val."""
    import cv2
    import numpy as np
    import scipy.io

    rng = np.random.default_rng(0)
    pictures: list[bytes] = []
    for _ in range(REAL):
        small = rng.integers(0, 256, (12, 16, 3), np.uint8)
        image = cv2.resize(small, (320, 256), interpolation=cv2.INTER_CUBIC)
        pictures.append(cv2.imencode(".jpg", image)[1].tobytes())
    wnids = [f"n{k:08d}" for k in range(CLASSES)]
    inner = tarred({f"{wnids[0]}_{i}.JPEG": p for i, p in enumerate(pictures)})
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tarred({f"{wnids[0]}.tar": inner}))
    val = {f"ILSVRC2012_val_{i + 1:08d}.JPEG": p for i, p in enumerate(pictures)}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tarred(val))
    fields = [(f, "O") for f in ("ILSVRC2012_ID", "WNID", "words", "num_children")]
    synsets = np.zeros((CLASSES, 1), fields)
    for k, wnid in enumerate(wnids):
        synsets[k, 0] = (k + 1, wnid, "", 0)
    mat = io.BytesIO()
    scipy.io.savemat(mat, {"synsets": synsets})
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    (data / "meta.mat").write_bytes(mat.getvalue())
    truth = "".join(f"{i % CLASSES + 1}\n" for i in range(REAL))
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, payload in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    return buffer.getvalue()


def write_index(folder: Path, count: int) -> float:
    """Stores an index of `count` entries for the training tar; returns the seconds it took."""
    from xfer.data.sources.index_file import Entries, kept_index, state_of
    from xfer.data.sources.tar_index import members_within

    tar = folder / "ILSVRC2012_img_train.tar"
    places = [member for _, member in members_within(tar)]
    start = time.perf_counter()

    def make() -> Entries:
        made = Entries([f"n{k:08d}" for k in range(CLASSES)], [tar.name])
        for i in range(count):
            k, place = i % CLASSES, places[i % len(places)]
            wnid = made.classes[k]
            made.add(f"train/{wnid}/{wnid}_{i}.JPEG", k, 0, place.start, place.length)
        return made

    kept_index(["ilsvrc train", state_of(tar)], make)
    return time.perf_counter() - start


def work(folder: Path) -> dict[str, Any]:
    """Opens the set as a run does, in this process."""
    import numpy as np

    from xfer.data.loading.loader import Loader
    from xfer.data.open import open_data
    from xfer.data.readers.base import FORMATS

    FORMATS.names()  # imports every format, as a run has at this point
    np.random.default_rng(0).permutation(8)
    before = peak_mb()
    start = time.perf_counter()
    bundle = open_data(f"imagenet:{folder}")
    opened = time.perf_counter() - start
    train = bundle.splits["train"]
    bundle.fingerprint()
    train.labels().sum()
    shuffle = time.perf_counter()
    loader = Loader(train, lambda s, g: s, lambda items: items[0], batch=256, train=True)
    places = loader.plan(0)[0]
    shuffled = time.perf_counter() - shuffle
    bundle.split_json()
    seconds = time.perf_counter() - start
    grown = peak_mb() - before
    reading = time.perf_counter()
    for i, _ in places[:64]:
        assert train[i].label == i_label(train.ids[i])
    read = (time.perf_counter() - reading) / 64
    return {"seconds": seconds, "mb": grown, "open": opened, "shuffle": shuffled, "read": read,
            "images": len(train)}  # fmt: skip


def peak_mb() -> float:
    """This process's peak memory, MB. (ru_maxrss would include its parent's.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def i_label(name: str) -> int:
    """The class in a synthetic name."""
    return int(name.split("/")[1][1:])


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Medians over new processes for a set of `count` pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XFER_CACHE"] = str(Path(scratch) / "cache")
        folder = Path(scratch) / "imagenet"
        folder.mkdir()
        write_tars(folder)
        made = write_index(folder, count)
        first = harness.worker(__file__, [str(folder)])  # decodes a sample, whose result is stored
        runs = [harness.worker(__file__, [str(folder)]) for _ in range(rounds)]
    found = {k: statistics.median(r[k] for r in runs) for k in runs[0]}
    return {**found, "made": made, "first": first["seconds"]}


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Plots microseconds and bytes per picture against the size of the set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7.2, 3.4), dpi=150)
    sizes = [r["images"] for r in rows]
    lines = {"making the index, once": "made", "opening it": "seconds", "shuffling": "shuffle",
             "reading a picture": "read"}  # fmt: skip
    for label, key in lines.items():
        scale = 1.0 if key == "read" else None
        values = [1e6 * r[key] * (scale or 1 / r["images"]) for r in rows]
        axis.plot(sizes, values, "o-", label=f"{label}, us", markersize=3)
    axis.plot(sizes, [r["mb"] * 2**20 / r["images"] for r in rows], "s--", label="memory, bytes",
              markersize=3)  # fmt: skip
    axis.set(xscale="log", yscale="log", xlabel="pictures in the set", ylabel="per picture")
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.grid(True, alpha=0.3)
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=5)
    parser.add_argument("--images", type=int, default=IMAGENET, help="(%(default)s)")
    parser.add_argument(
        "--growth", metavar="FILE.png", type=Path, help="draw the growth to this file"
    )
    parser.add_argument("--worker", metavar="DIR", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options.worker)))
        return
    count = 20_000 if options.quick else options.images
    rounds = 1 if options.quick else options.rounds
    print(harness.machine("cpu"))
    if options.growth:
        rows = [measure(n, rounds) for n in (SIZES[:3] if options.quick else SIZES)]
        for row in rows:
            n = row["images"]
            each = {k: row[k] / n * 1e6 for k in ("made", "seconds", "shuffle")}
            print(
                f"{n:>9,.0f}: opened in {row['seconds']:.3f} s; per picture: "
                f"made {each['made']:.1f} us, opened {each['seconds']:.2f} us, "
                f"shuffled {each['shuffle']:.3f} us, "
                f"read {row['read'] * 1e6:.0f} us, {row['mb'] * 2**20 / n:.0f} bytes",
                flush=True,
            )
        draw(rows, options.growth)
    found = measure(count, rounds)
    print(
        f"{count:,} entries: index made in {found['made']:.1f} s, once; first opened in "
        f"{found['first']:.2f} s (2,000 pictures decoded), then in {found['seconds']:.2f} s"
    )
    harness.report({"seconds": found["seconds"], "mb": found["mb"]}, options.json)


if __name__ == "__main__":
    main()
