"""Pickles changed as the programs that they are."""

from __future__ import annotations

import pickletools
import struct
from random import Random

from fuzz.mutate.unfit import Unfit

_PIECES = (
    b"(", b"t", b")", b"]", b"}", b"N", b"0", b"1", b"2", b"R", b"b", b"s", b"u", b"a", b"e",
    b"\x81", b"\x85", b"\x86", b"\x87", b"\x88", b"\x8f", b"\x90", b"\x91", b"\x94", b"l", b"d",
    b"Q", b".", b"h\0", b"q\0", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f", b"K\x01",
    b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\xff" * 8, b"\x8b\xff\xff\xff\x7f",
    b"X\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8,
    b"G" + b"\x7f\xf8" + bytes(6), b"cos\nsystem\n", b"cnumpy\ndtype\n",
    b"\x8c\x02os\x8c\x06system\x93", b"ccollections\nOrderedDict\n", b"P1\n",
    b"\x95" + b"\xff" * 8, b"I" + b"9" * 5000 + b"\n", b"(" * 3000, b"]" * 3000,
    b"]r\0\0\0\0" + b"j\0\0\0\0a" * 500, b"\x96" + struct.pack("<Q", 1 << 40), b"\x82\x01", b"i",
    b"o", b"c",
)  # fmt: skip


def opcodes(content: bytes, rng: Random) -> bytes:
    """A pickle with instructions removed, repeated, moved, added or with other arguments."""
    if len(content) > 1 << 20:
        raise Unfit
    try:
        starts = [at for _, _, at in pickletools.genops(content) if at is not None]
    except Exception as error:
        raise Unfit from error
    if len(starts) < 2:
        raise Unfit
    ends = [*starts[1:], len(content)]
    steps = [content[a:b] for a, b in zip(starts, ends, strict=True)]
    at, to = rng.randrange(len(steps)), rng.randrange(len(steps))
    draw = rng.randrange(8)
    if draw == 0:
        del steps[at]
    elif draw == 1:
        steps[at:at] = [steps[at]] * rng.choice((1, 2, 100))
    elif draw == 2:
        steps.insert(to, steps.pop(at))
    elif draw <= 4:
        steps.insert(at, rng.choice(_PIECES))
    elif draw == 5:
        steps[at] = rng.choice(_PIECES)
    elif draw == 6:
        steps[at] = steps[to]
    elif len(steps[at]) > 1:
        argument = bytearray(steps[at])
        argument[rng.randrange(1, len(argument))] = rng.choice(
            (0, 1, 127, 128, 255, rng.randrange(256))
        )
        steps[at] = bytes(argument)
    return b"".join(steps)
