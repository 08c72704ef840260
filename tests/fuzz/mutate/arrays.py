"""Arrays of numpy's files changed by their headers and numbers."""

from __future__ import annotations

import io
import re
from random import Random

import numpy as np

from fuzz.mutate.raw import anyhow
from fuzz.mutate.unfit import Unfit

_SHAPES = (
    "()", "(0,)", "(1,)", "(-1,)", "(2,)", "(0, 0)", "(1, 1, 1)", "(4, 0)", "(1099511627776,)",
    "(4611686018427387904, 4)", "(2147483648, 2147483648)", "(True,)", "(1.0,)", "('a',)", "[1]",
    "1", "None", f"({'9' * 5000},)", "(1000000,)", "(1000, 1000, 1000, 1000)", f"({'1,' * 70})",
    "((1,),)", "(0, 1099511627776)",
)  # fmt: skip
_TYPES = (
    "'<f4'", "'<f8'", "'>f4'", "'<f2'", "'|b1'", "'|u1'", "'<i8'", "'<u8'", "'<c16'", "'|O'",
    "'<U3'", "'<U0'", "'|S0'", "'<M8[D]'", "'|V8'", "[('a', '<f4')]",
    "[('a', '<f4', (100000, 100000))]", "'<f16'", "'x'", "''", "1", "None", "'<U1000000000'",
    "'<i4'", "'|i1'", "'f4,f4'", "[]", "[('', '|O')]",
)  # fmt: skip
_WHOLE = (
    "{",
    "{}",
    "None",
    "(" * 300,
    "(" * 5000,
    "{'descr': '<f4'}",
    "1",
    "'''",
    "\0",
    "{'shape': (1,)}",
)


def array(content: bytes, rng: Random) -> bytes:
    """An .npy with another header, or other numbers."""
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        raise Unfit
    wide = content[6] > 1
    length = int.from_bytes(content[8 : 12 if wide else 10], "little")
    start = 12 if wide else 10
    header, data = content[start : start + length].decode("latin1"), content[start + length :]
    draw = rng.randrange(10)
    if draw <= 1:
        header = re.sub(r"'shape': .*?\)(?=, *}|})", f"'shape': {rng.choice(_SHAPES)}", header)
    elif draw <= 3:
        header = re.sub(r"'descr': [^,]*", lambda _: f"'descr': {rng.choice(_TYPES)}", header)
    elif draw == 4:
        header = header.replace("False", rng.choice(("True", "1", "None", "'a'")))
    elif draw == 5:
        header = rng.choice(_WHOLE)
    elif draw == 6:
        header = anyhow(header.encode("latin1"), rng).decode("latin1")
    elif draw == 7:
        data = anyhow(data, rng)
    else:
        return _numbers(content, rng)
    text = header.encode("latin1")
    version = rng.choice((b"\x01\0",) * 8 + (b"\x02\0", b"\x03\0", b"\x04\0", b"\0\0"))
    size = min(len(text), 65535).to_bytes(2 if version[0] <= 1 else 4, "little")
    return b"\x93NUMPY" + version + size + text + data


def _numbers(content: bytes, rng: Random) -> bytes:
    """The array with some of its entries, its type or its shape changed, consistently."""
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:
        raise Unfit from error
    if values.nbytes > 1 << 20:
        raise Unfit
    kind, draw = values.dtype.kind, rng.randrange(8)
    with np.errstate(all="ignore"):
        if draw <= 3 and values.size:
            flat = values.reshape(-1).copy()
            at = rng.randrange(flat.size)
            if kind == "f":
                flat[at] = rng.choice((np.nan, np.inf, -np.inf, 1e38, -1, 0, 0.5))
            elif kind in "iu":
                info = np.iinfo(flat.dtype)
                flat[at] = rng.choice((info.min, info.max, 0, 1, 2, 127, max(-1, info.min)))
            elif kind == "U":
                flat = flat.astype(object)
                flat[at] = rng.choice(
                    ("", "\0", "a" * 300, "../x", "{}", "[]", "[" * 3000, "null", "1", "train")
                )
                flat = flat.astype(str)
            values = flat.reshape(values.shape)
        elif draw == 4:
            values = values.reshape(-1)[: rng.randrange(values.size + 1)]
        elif draw == 5:
            values = np.concatenate([values.reshape(-1)] * 2)
        elif draw == 6 and kind in "fiub":
            values = values.astype(
                rng.choice(("<f4", "<f8", "<i8", "|b1", "<c8", "<U5", "<f2", "|u1", ">i4"))
            )
        else:
            values = rng.choice((values[None], values.T, values.reshape(-1), values[..., None]))
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()
