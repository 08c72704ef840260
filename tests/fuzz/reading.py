"""Data opened as a training opens them, and their samples used: faults hide behind lazy reading."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from xfer import kinds
from xfer.data.open import open_data, show
from xfer.data.readers.base import ReadOptions
from xfer.data.sources.base import path_of, raw, read, stamp, verify
from xfer.data.spec import open_spec
from xfer.errors import XferError
from xfer.kinds.annotation import annotation
from xfer.kinds.box_stats import every_box
from xfer.kinds.pixel_counts import pixel_counts_of
from xfer.types import Source

SMALL = 8  # the short side of a picture that is decoded at a part of its size


def use_data(spec: Any, kind: str = "", **keys: Any) -> None:
    """Opens data strictly and with what can't be used left out, and uses the samples of each split.

    Raises: the first XferError, after all has been tried.
    """
    errors: list[XferError] = []
    wanted = (kind,) if kind else ()

    def strict() -> None:
        options = ReadOptions(**{k: v for k, v in keys.items() if k != "changes"})
        for part in open_spec(spec, options, wanted).reading.parts.values():
            use_source(part)

    def lenient() -> None:
        bundle = open_data(spec, kind=kind, skip_bad=True, cut=False, **keys)
        show(bundle, items=True)
        for source in bundle.splits.values():
            use_source(source)

    with mock.patch.object(os, "fsync"):  # a kept index need not outlive a power cut
        attempt(errors, strict)
        attempt(errors, lenient)
    if errors:
        raise errors[0]


def use_source(source: Source) -> None:
    """Uses a few samples in every way; raises the first XferError, after all has been tried."""
    errors: list[XferError] = []
    kind = kinds.get(source.info.kind)
    attempt(errors, source.labels)
    attempt(errors, source.fingerprint)
    if kind.boxes:
        attempt(errors, lambda: every_box(source))
    for i in dict.fromkeys((0, len(source) // 2, len(source) - 1) if len(source) else ()):
        ways: list[Callable[[int], Any]] = [
            source.__getitem__,
            lambda i: read(source, i, SMALL),
            lambda i: read(source, i, SMALL, lambda height, width: height // 2),
            lambda i: verify(source, i),
            lambda i: (path_of(source, i), stamp(source, i), source.ids[i]),
            lambda i: present(lambda: raw(source, i)),
        ]
        if kind.boxes:
            ways.append(lambda i: annotation(source, i))
        if source.info.kind in ("segment", "panoptic"):
            ways.append(lambda i: pixel_counts_of(source, i))
        for way in ways:
            attempt(errors, lambda way=way, i=i: way(i))
    if errors:
        raise errors[0]


def attempt(errors: list[XferError], function: Callable[[], Any]) -> None:
    """Calls the function, and keeps the XferError that it may end in, without the pictures that the
    frames of its traceback hold."""
    try:
        function()
    except XferError as error:
        errors.append(error)
        link: BaseException | None = error
        while link is not None:
            traceback.clear_frames(link.__traceback__)
            link = link.__cause__ or link.__context__


def attempts(
    functions: Sequence[Callable[[], Any]], others: Sequence[Callable[[], Any]] = ()
) -> None:
    """Calls every function; raises the first XferError, after all have been tried.

    Args: others: readings that may be refused of good files, too: boxes have no instances.
    """
    errors: list[XferError] = []
    for function in functions:
        attempt(errors, function)
    for function in others:
        attempt([], function)
    if errors:
        raise errors[0]


def present(function: Callable[[], Any]) -> Any:
    """What the function returns; None if its file is not there, of which OSError is the word."""
    try:
        return function()
    except OSError:
        return None


def seeds_in(folder: Path, *writers: Callable[[Path], Any]) -> list[dict[str, bytes]]:
    """A case for each function that writes a set into a folder of its own."""
    from fuzz.case import of_folder

    cases: list[dict[str, bytes]] = []
    for number, write in enumerate(writers):
        own = folder / str(number)
        own.mkdir(parents=True)
        write(own)
        cases.append(of_folder(own))
    return cases
