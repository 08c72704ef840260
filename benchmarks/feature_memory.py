"""Peak memory of `xfer features` for 1,000 and for 20,000 real pictures: it must not grow.

Tiny-ImageNet's pictures are first written as a folder of JPEGs, 20,000 in train and 5,000 in val.
Each extraction is a separate process with an empty cache; its peak is the system's figure
(ru_maxrss, resident memory). Results: mb_1000, mb_20000, more_mb.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
from features import data_folder

COUNTS = (1000, 20000)


def unpack(out: Path, split: str, max_pictures: int) -> int:
    """Writes a split of tiny-imagenet-100 as out/<class>/<name>; returns the number of pictures.

    Layout of the npz: a picture is `header` (shared by all) and data[offsets[i]:offsets[i + 1]].
    """
    import numpy as np

    file = data_folder() / "tiny-imagenet-100" / f"{split}.npz"
    if not file.is_file():
        raise SystemExit(f"no pictures at {file}: set XFER_TEST_DATA")
    with np.load(file, allow_pickle=False) as packed:
        header, data = packed["header"].tobytes(), packed["data"].tobytes()
        offsets, labels = packed["offsets"], packed["labels"]
    order = np.random.default_rng(0).permutation(len(labels))[:max_pictures]
    for c in np.unique(labels):
        (out / f"class{c:03d}").mkdir(parents=True, exist_ok=True)
    for i in order:
        jpeg = header + data[offsets[i] : offsets[i + 1]]
        (out / f"class{labels[i]:03d}" / f"{i}.jpg").write_bytes(jpeg)
    return len(order)


def extract(folder: Path, scratch: Path) -> dict[str, Any]:
    """One extraction in this process; returns its peak in MB, seconds and pictures."""
    os.environ["XFER_CACHE"] = str(scratch / "cache")
    from xfer.extraction.extract import extract as run
    from xfer.extraction.net import Choice

    file = data_folder() / "weights" / "alexnet_torchvision_features" / "features.npz"
    choice = Choice("alexnet", str(file) if file.is_file() else "none", ("conv5", "pool5"))
    start = time.perf_counter()
    extraction = run(folder, scratch / "features.npz", choice=choice, cache=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mb = peak / 2**20 if sys.platform == "darwin" else peak / 2**10
    return {"mb": mb, "seconds": time.perf_counter() - start, "images": extraction.computed}


def main() -> None:
    parser = harness.parser(__doc__ or "", rounds=1)
    parser.add_argument("--worker", nargs=2, metavar=("FOLDER", "SCRATCH"))
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(extract(*map(Path, options.worker))))
        return
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for most in (100, 400) if options.quick else COUNTS:
            folder = Path(scratch) / str(most)
            unpack(folder, "train", most)
            run = subprocess.run(
                [sys.executable, __file__, "--worker", str(folder), scratch],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            one = json.loads(run.stdout.splitlines()[-1])
            found[f"mb_{most}"] = one["mb"]
            print(f"{one['images']} pictures: peak {one['mb']:.0f} MB, {one['seconds']:.0f} s",
                  flush=True)  # fmt: skip
    least, most = found.values()
    found["more_mb"] = most - least
    harness.report(found, options.json)


if __name__ == "__main__":
    main()
