"""Tables, lists and XML changed as text: lines, cells, tags."""

from __future__ import annotations

import re
from random import Random

from fuzz.mutate.unfit import Unfit

_CELLS = (
    b"", b" ", b"0", b"1", b"-1", b"0.5", b"nan", b"inf", b"1e999", b"-0", b"a", b"a" * 300,
    b"\0", b'"', b"'", b'""', b'"a,b"', b'"a\nb"', b"9" * 5000, b"99999999999999999999", b"1,5",
    b"\xff", b"../../etc/passwd", b"/dev/zero", b"a" * 5000, b"[" * 3000, b"[1,2]", b"{}",
    b"\xef\xbb\xbf", b"true", b"None", b"1;2", b"1 2", b"1|2", b"\xe2\x80\xae", b"=1+1",
)  # fmt: skip


def lines(content: bytes, rng: Random) -> bytes:
    """One line removed, repeated, moved, cut, joined with the next, or of another file ending."""
    rows = content.splitlines(keepends=True)
    if not rows:
        raise Unfit
    at, to = rng.randrange(len(rows)), rng.randrange(len(rows))
    row = rows[at]
    draw = rng.randrange(9)
    if draw == 0:
        del rows[at]
    elif draw == 1:
        rows[at:at] = [row] * rng.choice((1, 2, 100))
    elif draw == 2:
        rows.insert(to, rows.pop(at))
    elif draw == 3:
        rows[at] = row[: rng.randrange(len(row) + 1)]
    elif draw == 4:
        rows[at] = row.rstrip(b"\r\n")
    elif draw == 5:
        rows[at] = b"\n" * rng.choice((1, 3)) + row
    elif draw == 6:
        rows[at] = rng.choice(_CELLS) + row
    elif draw == 7:
        return content.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"\0\n", b"")))
    else:
        code = rng.choice(("utf-16", "utf-8-sig", "utf-32"))
        return content.decode("utf-8", "replace").encode(code, "replace")
    return b"".join(rows)


def cells(content: bytes, rng: Random) -> bytes:
    """One to three cells of a table of commas, tabs, semicolons or spaces replaced."""
    rows = content.split(b"\n")
    mark = next((m for m in (b",", b"\t", b";", b" ") if m in content), None)
    if mark is None:
        raise Unfit
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(rows))
        row = rows[at].split(mark)
        cell, draw = rng.randrange(len(row)), rng.random()
        if draw < 0.6:
            row[cell] = rng.choice(_CELLS)
        elif draw < 0.7:
            del row[cell]
        elif draw < 0.8:
            row.insert(cell, row[cell])
        elif draw < 0.9:
            row[cell] = rng.choice(rows).split(mark)[0]
        else:
            row.append(rng.choice(_CELLS))
        rows[at] = mark.join(row)
    return b"\n".join(rows)


_TEXTS = (*_CELLS, b"&amp;", b"&a;", b"&#0;", b"<![CDATA[x]]>", b"<!-- -->", b"<a/>", b"<a>" * 5000)
_PROLOGUE = (
    b'<?xml version="1.0" encoding="utf-16"?>', b'<?xml version="1.0" encoding="nothing"?>',
    b'<!DOCTYPE a [<!ENTITY a "' + b"a" * 1000 + b'"><!ENTITY b "' + b"&a;" * 1000 + b'">]>',
    b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
)  # fmt: skip


def tags(content: bytes, rng: Random) -> bytes:
    """An XML document with a text, a tag or an element changed."""
    found = list(re.finditer(rb"<(/?)([\w.:-]+)[^>]*>([^<]*)", content))
    if not found:
        raise Unfit
    one, other = rng.choice(found), rng.choice(found)
    before, after = content[: one.start()], content[one.end() :]
    draw = rng.randrange(7)
    if draw <= 1:
        return content[: one.start(3)] + rng.choice(_TEXTS) + after
    if draw == 2:
        return before + after
    if draw == 3:
        return before + one[0].replace(one[2], other[2], 1) + after
    if draw == 4:
        return rng.choice(_PROLOGUE) + content
    a, b = sorted((one.start(), other.start()))
    return content[:a] + content[b:] if draw == 5 else content[:b] + content[a:]
