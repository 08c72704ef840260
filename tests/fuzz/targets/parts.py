"""Parts of a job, which are joined, and shards that are read in sequence."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from pictures import encoded, scene

from fuzz import case as cases
from fuzz.case import Case
from fuzz.target import target, used
from xfer.data.streams.open_stream import open_stream
from xfer.data.streams.stream import pictures_of
from xfer.extraction.join import join
from xfer.extraction.parquet import write_parquet
from xfer.extraction.store import Features, write_features
from xfer.parts.folder import PartsFolder
from xfer.parts.part import Part


def jobs(folder: Path) -> list[Case]:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    texts = np.array(["ant", "bee"], np.str_)
    meta = {"layers": {"conv1": 4}, "backbone": "alexnet"}
    whole = Features(
        {"conv1": rows}, np.array([0, 1, -1]), np.array(["a", "b", "c"], np.str_), texts,
        np.array(["train"] * 3, np.str_), meta,
    )  # fmt: skip
    made: list[Case] = []
    for ending, write in ((".npz", write_features), (".parquet", write_parquet)):
        place = folder / ending[1:]
        for i in range(2):
            part = PartsFolder(place, Part(i, 2), ending, "features", {"net": "alexnet"})
            part.begin({"weights": "a"})
            write(part.file, replace(whole, meta={**meta, "part": {"part": f"{i}/2"}}))
        made.append(cases.of_folder(place))
    return made


@target("parts", jobs)
def use_parts(path: Path) -> None:
    """As the next part and `xfer features join` read them."""
    out = path.with_name("joined.npz")
    try:
        PartsFolder(path, Part(0, 2), ".npz", "features", {"net": "alexnet"}).finished()
        join(path, out)
    finally:
        out.unlink(missing_ok=True)


def shards(folder: Path) -> list[Case]:
    made: list[Case] = []
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=form) as tar:
            for name, data in (
                ("0.png", encoded(scene(8, 8))), ("0.cls", b"1"),
                (f"{'x' * 120}.png", encoded(scene(8, 8))), (f"{'x' * 120}.json", b'{"label": 0}'),
            ):  # fmt: skip
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        made.append({"a.tar": content.getvalue()})
    return made


@target("stream", shards)
def use_stream(path: Path) -> None:
    """As counting and training read it."""
    used(pictures_of(str(path)))
    open_stream(f"webdataset:{path.parent}/{{{path.stem},{path.stem}}}.tar")
