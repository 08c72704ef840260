"""Mutations that know nothing of a file's form."""

from __future__ import annotations

from random import Random

# where sizes, counts and offsets go wrong
INTEGERS = (
    0, 1, -1, 2, 7, 15, 16, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 1 << 20,
    (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63,
)  # fmt: skip
TOKENS = (b"\0", b"\n", b"\r\n", b"NaN", b"-inf", b"1e999", b"-1", b"9" * 5000, b"\xff\xfe",
          b"\xef\xbb\xbf", b"../../../etc/passwd", b"/dev/zero", b"a" * 300, b"[" * 3000,
          b"{\"a\":" * 2000, b"\xed\xa0\x80", b"%s%n", b"os:system", b"None", b"null")  # fmt: skip


def anyhow(content: bytes, rng: Random) -> bytes:
    """One change of some bytes."""
    return rng.choice(_ALL)(content, rng)


def spliced(content: bytes, other: bytes, rng: Random) -> bytes:
    """The beginning of one file, or a piece of it replaced, with a part of another."""
    a, b = _span(content, rng)
    c, d = _span(other, rng)
    return content[:a] + other[c:] if rng.random() < 0.3 else content[:a] + other[c:d] + content[b:]


def _at(content: bytes, rng: Random) -> int:
    """A position; headers, where most is decided, are met more often."""
    if rng.random() < 0.3:
        return rng.randrange(min(len(content), 256) + 1)
    if rng.random() < 0.2:
        return max(0, len(content) - rng.randrange(256))
    return rng.randrange(len(content) + 1)


def _span(content: bytes, rng: Random, most: int = 0) -> tuple[int, int]:
    start = _at(content, rng)
    length = rng.choice((1, 2, 4, 8, 16, 64, 256, most or len(content) or 1))
    return start, min(len(content), start + rng.randint(0, length))


def _flip(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16)) if content else 0):
        changed[min(_at(content, rng), len(content) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _set(content: bytes, rng: Random) -> bytes:
    a, b = _span(content, rng, 8)
    return content[:a] + rng.choice((b"\0", b"\xff", b"\x7f", b" ")) * (b - a) + content[b:]


def _randomise(content: bytes, rng: Random) -> bytes:
    a, b = _span(content, rng, 16)
    return content[:a] + rng.randbytes(b - a) + content[b:]


def _insert(content: bytes, rng: Random) -> bytes:
    a = _at(content, rng)
    added = rng.choice((rng.randbytes(rng.randint(1, 8)), rng.choice(TOKENS)))
    return content[:a] + added + content[a:]


def _delete(content: bytes, rng: Random) -> bytes:
    a, b = _span(content, rng)
    return content[:a] + content[b:]


def _truncate(content: bytes, rng: Random) -> bytes:
    return content[: _at(content, rng)]


def _repeat(content: bytes, rng: Random) -> bytes:
    a, b = _span(content, rng, 64)
    return content[:b] + content[a:b] * rng.choice((1, 2, 10, 100)) + content[b:]


def _swap(content: bytes, rng: Random) -> bytes:
    a, b = _span(content, rng)
    c, d = _span(content, rng)
    return content[:a] + content[c:d] + content[b:]


def _integer(content: bytes, rng: Random) -> bytes:
    width = rng.choice((1, 2, 4, 8))
    number = rng.choice(INTEGERS) % (1 << (8 * width))
    a, order = _at(content, rng), rng.choice(("little", "big"))
    return content[:a] + number.to_bytes(width, order) + content[a + width :]


def _nudge(content: bytes, rng: Random) -> bytes:
    """A number a little larger or smaller."""
    width = rng.choice((1, 2, 4))
    a, order = _at(content, rng), rng.choice(("little", "big"))
    number = int.from_bytes(content[a : a + width], order)
    number = (number + rng.randint(-16, 16)) % (1 << (8 * width))
    return content[:a] + number.to_bytes(width, order) + content[a + width :]


_ALL = (_flip, _flip, _set, _randomise, _insert, _delete, _truncate, _repeat, _swap, _integer,
        _integer, _nudge)  # fmt: skip
