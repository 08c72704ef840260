"""One look at every picture: whether it decodes, its size and brightness, and what tells copies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.images.decode import DecodeError, decode
from xfer.data.images.remarks import Remark, remarks
from xfer.data.images.size import upright_size
from xfer.data.images.threads import cores
from xfer.data.inspect.checks import Place
from xfer.data.inspect.verify import odd_pictures as remarked_on
from xfer.data.sources.base import raw, read, subset, verify
from xfer.errors import DataError
from xfer.kinds.findings import Finding, counted, finding
from xfer.types import Source

SIDE = 32  # of the thumbnails that are compared
SHORT = 128  # a picture is decoded no larger
AT_ONCE = 256

# grey levels, 0..255: less spread than this is one plain colour, less light is nearly black
PLAIN, DARK, LIGHT = 2.5, 14, 242
# a short side below this, or this many times smaller than the median, is odd
SMALL, SMALLER = 32, 8
LONG = 3.0  # a ratio of sides this many times the median's


@dataclass(frozen=True)
class Looks:
    """What one look at N pictures tells; a picture that can't be used has zeros.

    places | N places
    digest | uint64 (N,)          | of the picture's bytes; of its pixels where it is no file
    thumb  | uint8 (N, SIDE, SIDE) | grey
    hash   | uint64 (N,)          | perceptual hash of the thumbnail
    size   | int32 (N, 2)         | height and width, pixels
    mean, spread | float32 (N,)   | grey levels of the thumbnail
    bad    | index -> why it can't be used
    odd    | (index, remark) of those that are read but may look wrong
    """

    places: tuple[Place, ...]
    digest: NDArray[np.uint64]
    thumb: NDArray[np.uint8]
    hash: NDArray[np.uint64]
    size: NDArray[np.int32]
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    bad: Mapping[int, str]
    odd: Sequence[tuple[int, Remark]] = ()

    def id(self, k: int) -> str:
        """The id of picture k."""
        return self.places[k].id

    @property
    def good(self) -> NDArray[np.bool_]:
        """(N,) which pictures can be used."""
        good = np.ones(len(self.places), bool)
        good[list(self.bad)] = False
        return good


def look_at(splits: Mapping[str, Source], tick: Callable[[int, int], None] | None = None) -> Looks:
    """Look at every picture of these splits once, with a thread per core.

    Memory: about 1.1 kB per picture. Args: tick: called with (pictures done, all) now and then.
    """
    places = tuple(
        Place(role, i, name) for role, source in splits.items() for i, name in enumerate(source.ids)
    )
    count = len(places)
    looks = Looks(
        places, np.zeros(count, np.uint64), np.zeros((count, SIDE, SIDE), np.uint8),
        np.zeros(count, np.uint64), np.zeros((count, 2), np.int32), np.zeros(count, np.float32),
        np.zeros(count, np.float32), {},
    )  # fmt: skip
    bad: dict[int, str] = {}
    odd: dict[int, list[Remark]] = {}

    def one(k: int) -> None:
        place = places[k]
        try:
            with remarks() as found:
                _look(looks, k, splits[place.role], place.index)
            if found:
                odd[k] = found
        except DecodeError as error:
            bad[k] = error.reason
        except (DataError, OSError) as error:
            bad[k] = getattr(error, "message", None) or getattr(error, "strerror", None) or "gone"

    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, count, AT_ONCE):
            stop = min(start + AT_ONCE, count)
            list(pool.map(one, range(start, stop)))
            if tick is not None:
                tick(stop, count)
    remarked = [(k, one) for k, found in sorted(odd.items()) for one in dict.fromkeys(found)]
    return Looks(**{**looks.__dict__, "bad": dict(sorted(bad.items())), "odd": remarked})


def _look(looks: Looks, k: int, source: Source, i: int) -> None:
    data = raw(source, i)
    if data is None:
        image = read(source, i, SHORT).image
        size = source[i].image.shape[:2]
        digest = hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=8)
    else:
        if kinds.get(source.info.kind).placed:  # sizes and masks must fit
            verify(source, i)
        image = decode(data, SHORT)
        size = upright_size(data) or image.shape[:2]
        digest = hashlib.blake2b(data, digest_size=8)
    thumb = thumbnail(image)
    looks.digest[k] = int.from_bytes(digest.digest(), "little")
    looks.thumb[k], looks.hash[k] = thumb, perceptual_hash(thumb)
    looks.size[k] = size
    looks.mean[k], looks.spread[k] = thumb.mean(), thumb.std()


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) -> grey uint8 (SIDE, SIDE), stretched to a square."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def perceptual_hash(thumb: NDArray[np.uint8]) -> int:
    """64 bits: which of the lowest 8 x 8 frequencies of a thumbnail are above their median.

    Source: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions,
    sec. 3.2.1 (DCT based), on 32 x 32 pixels.
    """
    waves = cv2.dct(thumb.astype(np.float32))[:8, :8].ravel()
    bits = waves > np.median(waves[1:])
    return int(np.packbits(bits).view(">u8")[0])


def odd_pictures(looks: Looks) -> list[Finding]:
    """Pictures that can't be used, that may look wrong, or whose size or shape is odd."""
    findings = [_broken(looks)] if looks.bad else []
    findings += remarked_on([(looks.id(k), one) for k, one in looks.odd])
    good = looks.good
    if not good.any():
        return findings
    plain = good & (looks.spread < PLAIN)
    height, width = looks.size[:, 0].astype(float), looks.size[:, 1].astype(float)
    short, ratio = np.minimum(height, width), np.log(np.maximum(width, 1) / np.maximum(height, 1))
    usual, middle = float(np.median(short[good])), float(np.median(ratio[good]))
    little = good & (short < min(SMALL, usual / 2)) | good & (short < usual / SMALLER)
    long = good & (np.abs(ratio - middle) > np.log(LONG))
    for which, check, one, many, why in (
        (plain, "blank", "picture is blank", "pictures are blank", "of one colour"),
        (good & ~plain & (looks.mean < DARK), "dark", "picture is nearly black",
         "pictures are nearly black", f"a mean grey below {DARK} of 255"),
        (good & ~plain & (looks.mean > LIGHT), "bright", "picture is nearly white",
         "pictures are nearly white", f"a mean grey above {LIGHT} of 255"),
        (little, "odd_size", "picture is far smaller than the others",
         "pictures are far smaller than the others", f"the median short side is {usual:.0f} px"),
        (long, "odd_shape", "picture is far longer or taller than the others",
         "pictures are far longer or taller than the others",
         f"the median width / height is {np.exp(middle):.2g}"),
    ):  # fmt: skip
        found = np.flatnonzero(which).tolist()
        if found:
            head = f"{counted(len(found), one, many)} ({why})"
            findings.append(finding(check, head, [[looks.id(k)] for k in found]))
    return findings


def _broken(looks: Looks) -> Finding:
    return finding(
        "broken", f"{counted(len(looks.bad), 'picture')} can't be used",
        [[looks.id(k)] for k in looks.bad], [f"{looks.id(k)} ({w})" for k, w in looks.bad.items()],
    )  # fmt: skip


def labels_of(looks: Looks, splits: Mapping[str, Source]) -> list[object]:
    """The label of each picture in a form that can be compared; None where it is not known."""
    rows = {role: source.labels() for role, source in splits.items()}

    def plain(row: NDArray[np.int64] | np.int64) -> object:
        values: Sequence[int] | int = row.tolist()
        if isinstance(values, list):
            return None if -1 in values else tuple(values)
        return None if values == -1 else values

    return [plain(rows[place.role][place.index]) for place in looks.places]


def some_of(splits: Mapping[str, Source], which: NDArray[np.bool_]) -> dict[str, Source]:
    """The splits with some of their pictures: `which` is bool (N,), over all splits in order; a
    split of which nothing is left is left out."""
    begin = 0
    found: dict[str, Source] = {}
    for role, source in splits.items():
        keep = np.flatnonzero(which[begin : begin + len(source)])
        begin += len(source)
        if len(keep):
            found[role] = source if len(keep) == len(source) else subset(source, keep)
    return found
