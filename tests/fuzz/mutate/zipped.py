"""Zip archives changed by their members and by what they say of them."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from pathlib import PurePosixPath
from random import Random

from fuzz.mutate.arrays import array
from fuzz.mutate.pickled import opcodes
from fuzz.mutate.raw import INTEGERS, anyhow
from fuzz.mutate.unfit import Unfit
from fuzz.mutate.values import json_values

_INNER = {".npy": array, ".json": json_values, ".pkl": opcodes, "": json_values}
_NAMES = ("", "a", "\0", "../a.npy", "/a.npy", "a" * 300 + ".npy", "data.pkl", "archive/data.pkl",
          "y.npy", "meta.npy", "a/", "é.npy", "schema.json")  # fmt: skip


def members(content: bytes, rng: Random) -> bytes:
    """An archive with one member changed, missing, renamed, twice or compressed, or one that lies
    about its members' sizes."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            held = [(i.filename, archive.read(i), i.compress_type) for i in archive.infolist()]
    except Exception as error:
        raise Unfit from error
    if not held:
        raise Unfit
    draw = rng.random()
    if draw < 0.15:
        return _lying(content, rng)
    at = rng.randrange(len(held))
    name, data, how = held[at]
    if draw < 0.75:
        inner = _INNER.get(PurePosixPath(name).suffix, anyhow)
        try:
            data = (inner if rng.random() < 0.8 else anyhow)(data, rng)
        except Unfit:
            data = anyhow(data, rng)
        held[at] = (name, data, how)
    elif draw < 0.8:
        del held[at]
    elif draw < 0.85:
        held.append((name, held[rng.randrange(len(held))][1], how))
    elif draw < 0.9:
        held[at] = (rng.choice((*_NAMES, held[rng.randrange(len(held))][0])), data, how)
    elif draw < 0.95:
        ways = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        held[at] = (name, data, rng.choice(ways))
    elif draw < 0.97:  # deflated to a hundredth and less
        held[at] = (name, data + bytes(rng.choice((1 << 16, 1 << 22))), zipfile.ZIP_DEFLATED)
    else:
        other = rng.randrange(len(held))
        held[at], held[other] = (name, held[other][1], how), (held[other][0], data, held[other][2])
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, data, how in held:
            info = zipfile.ZipInfo(name.replace("\0", "\x01") if not name.strip("\0") else name)
            info.compress_type = how
            archive.writestr(info, data)
    return file.getvalue()


def _lying(content: bytes, rng: Random) -> bytes:
    """A field of a header of the archive set to another number."""
    marks = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06")
    starts = [i for mark in marks for i in _found(content, mark)]
    if not starts:
        raise Unfit
    start = rng.choice(starts)
    width = rng.choice((2, 2, 4))
    at = start + 4 + rng.randrange(0, 42, 2)
    number = rng.choice((*INTEGERS, 8, 9, 12, 14, 99))
    changed = bytearray(content)
    changed[at : at + width] = struct.pack("<Q", number % (1 << 64))[:width]
    return bytes(changed)


def _found(content: bytes, mark: bytes) -> list[int]:
    places: list[int] = []
    at = content.find(mark)
    while at >= 0 and len(places) < 1000:
        places.append(at)
        at = content.find(mark, at + 1)
    return places
