"""Features of a stream: shards read from beginning to end, each picture once.

A batch never crosses the end of a shard, so parts, which are ranges of shards, together equal one
extraction of everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError, decode
from xfer.data.images.threads import cores
from xfer.data.loading.halved import Halved
from xfer.data.loading.loader import stack_images
from xfer.data.sources.base import Bundle
from xfer.data.streams.shards import FORMAT, shards_of
from xfer.data.streams.stream import Encoded, pictures_of
from xfer.data.streams.stream_loader import Ahead
from xfer.errors import DataError, XferError
from xfer.extraction.fill import SAY_SECONDS
from xfer.extraction.form import Form
from xfer.extraction.net import FeatureNet
from xfer.extraction.store import Spool
from xfer.files import room
from xfer.parts.part import Part
from xfer.types import DataInfo


@dataclass
class Streamed:
    """What was read: the pictures' ids and labels, in order, and how many could not be decoded."""

    ids: list[str] = field(default_factory=list[str])
    labels: list[int] = field(default_factory=list[int])
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class Shards:
    """The shards of a stream, in place of a source: what describes features made from it."""

    def __init__(self, spec: str) -> None:
        self.spec, self.shards = spec, shards_of(spec)
        self.info = DataInfo(spec, "classify", (), "train")

    def bundle(self) -> Bundle:
        """A bundle of this one split, which has a name, a kind and a fingerprint, and no rows."""
        given: Any = {"train": self}
        return Bundle(self.spec, FORMAT.rstrip(":"), "classify", (), given)

    def fingerprint(self) -> str:
        return "\0".join(self.shards)


class Growing(Spool):
    """A spool for rows that nobody could count beforehand."""

    def grow(self, count: int) -> None:
        """Sets how many rows there are, once all are written: for rows that nobody could count."""
        self.count = count
        with room(self.out):
            for file, start in self._files.values():
                file.seek(0)
                npy.read_magic(file)
                shape, _, dtype = npy.read_array_header_2_0(file)
                file.seek(0)
                # numpy leaves room in the header for the first axis to grow
                npy.write_array_header_2_0(
                    file, {"descr": dtype.str, "fortran_order": False, "shape": (count, *shape[1:])}
                )
                assert file.tell() == start


def check_asked(spec: str, asked: dict[str, Any]) -> None:
    """Raises XferError for settings that need pictures by number."""
    for name, value in asked.items():
        if value and name != "skip_bad":
            raise XferError(f"{spec}: a stream has no {name}", "read the shards as files instead")


def fill_streamed(
    shards: Shards, part: Part | None, net: FeatureNet, sink: Spool, form: Form, batch: int,
    workers: int, skip_bad: bool, say: Callable[[str], None],
) -> Streamed:  # fmt: skip
    """Writes the features of the shards of a part, or of all, as they come.

    Raises: DataError for a picture that can't be decoded, unless `skip_bad`.
    """
    found = Streamed()
    own = range(len(shards.shards)) if part is None else part.of(len(shards.shards))
    fitting = Halved[dict[str, NDArray[np.float32]]](net.place, say, "--device cpu")
    cut, unused = net.transform(), np.random.default_rng(0)
    begin = last_said = time.monotonic()

    def read(picture: Encoded) -> Any:
        try:
            return cut(decode(picture.data, net.short_side), unused)
        except DecodeError as error:
            return DecodeError(error.reason, picture.id)

    threads = cores() if workers < 0 else max(1, workers)
    batches = _batches([shards.shards[k] for k in own], batch)
    with ThreadPoolExecutor(threads) as pool, closing(Ahead(batches, 2)) as coming:
        waiting: list[tuple[list[Encoded], list[Future[Any]]]] = []
        following = next(coming, None)
        while following is not None or waiting:
            if following is not None:
                waiting.append((following, [pool.submit(read, one) for one in following]))
                following = next(coming, None)
            if len(waiting) < 2 and following is not None:
                continue
            pictures, cuts = waiting.pop(0)
            _compute(pictures, [one.result() for one in cuts], net, sink, form, fitting, skip_bad,
                     found)  # fmt: skip
            if time.monotonic() - last_said > SAY_SECONDS:
                last_said = time.monotonic()
                say(f"{len(found.ids)} pictures, {len(found.ids) / (last_said - begin):.0f} per "
                    "second")  # fmt: skip
    for name, reason in found.skipped:
        say(f"left out: {name}: {reason}")
    return found


def _batches(shards: Sequence[str], batch: int) -> Iterator[list[Encoded]]:
    for shard in shards:
        held: list[Encoded] = []
        for one in pictures_of(shard):
            held.append(one)
            if len(held) == batch:
                yield held
                held = []
        if held:
            yield held


def _compute(
    pictures: list[Encoded], cuts: list[Any], net: FeatureNet, sink: Spool, form: Form,
    fitting: Halved[dict[str, NDArray[np.float32]]], skip_bad: bool, found: Streamed,
) -> None:  # fmt: skip
    """Runs the net over a batch and appends its rows."""
    good: list[Any] = []
    for picture, image in zip(pictures, cuts, strict=True):
        if isinstance(image, DecodeError):
            if not skip_bad:
                raise DataError(image.message, "remove it, or --skip-bad")
            found.skipped.append((picture.id, image.reason))
            continue
        good += [image] if image.ndim == 3 else list(image)
        found.ids.append(picture.id)
        found.labels.append(picture.label)
    if not good:
        return
    count = len(good) // net.views
    images: torch.Tensor = stack_images(good)
    results = fitting(count, lambda start, stop: net(images[start * net.views : stop * net.views]))
    first = len(found.ids) - count
    for rows in results:
        length = len(next(iter(rows.values())))
        places = np.arange(first, first + length)
        sink.write(places, {name: form(values) for name, values in rows.items()})
        first += length
