"""Mutations of what lies behind checksums and compression: PNG, tar, gzip, MATLAB's files."""

from __future__ import annotations

import zlib
from random import Random

from fuzz.mutate.raw import INTEGERS, anyhow
from fuzz.mutate.unfit import Unfit

PNG = b"\x89PNG\r\n\x1a\n"
BLOCK = 512
_COMPRESSED = 15  # MATLAB's type of an element that is packed by zlib
# fields of a tar's header: start, length
_FIELDS = ((0, 100), (100, 8), (124, 12), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8),
           (345, 155))  # fmt: skip


def png(content: bytes, rng: Random) -> bytes:
    """Chunks changed, with checksums that are right; pixels changed behind their compression."""
    chunks = _chunks(content)
    at = rng.randrange(len(chunks))
    kind, body = chunks[at]
    draw = rng.random()
    if draw < 0.1:
        chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
    elif draw < 0.2:
        del chunks[at]
    elif kind == b"IDAT" and draw < 0.6:
        chunks[at] = (kind, _packed(body, rng))
    elif kind == b"IHDR" and len(body) >= 13 and draw < 0.6:
        values = bytearray(body)
        values[rng.choice((8, 9, 10, 11, 12))] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
        chunks[at] = (kind, bytes(values))
    else:
        kind = rng.choice((kind, kind, b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"acTL", b"fdAT"))
        chunks[at] = (kind, anyhow(body, rng))
    return PNG + b"".join(
        len(b).to_bytes(4, "big") + k + b + zlib.crc32(k + b).to_bytes(4, "big") for k, b in chunks
    )


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    if not content.startswith(PNG):
        raise Unfit
    found: list[tuple[bytes, bytes]] = []
    at = len(PNG)
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    if not found:
        raise Unfit
    return found


def _packed(body: bytes, rng: Random, wbits: int = 15) -> bytes:
    """What zlib has packed, changed and packed again."""
    unpack = zlib.decompressobj(wbits)
    try:
        plain = unpack.decompress(body, 1 << 22)
    except zlib.error:
        raise Unfit from None
    pack = zlib.compressobj(1, zlib.DEFLATED, wbits)
    return pack.compress(anyhow(plain, rng)) + pack.flush()


def tar(content: bytes, rng: Random) -> bytes:
    """A field of a member's header changed, with a checksum that is right."""
    heads = [at for at in range(0, len(content) - BLOCK + 1, BLOCK)
             if content[at + 257 : at + 262] == b"ustar"]  # fmt: skip
    if not heads:
        raise Unfit
    at = rng.choice(heads)
    head = bytearray(content[at : at + BLOCK])
    start, length = rng.choice(_FIELDS)
    if start == 156:
        head[start] = rng.choice(b"\x000123456789KLSVMNDgxXA")
    elif start in (100, 124, 136) and rng.random() < 0.7:
        head[start : start + length] = _number(length, rng)
    else:
        field = anyhow(bytes(head[start : start + length]).rstrip(b"\0"), rng)
        head[start : start + length] = field[:length].ljust(length, b"\0")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return content[:at] + bytes(head) + content[at + BLOCK :]


def _number(length: int, rng: Random) -> bytes:
    """A number as a tar writes it: octal, or in the two forms beyond it."""
    value = rng.choice(INTEGERS)
    if rng.random() < 0.3:
        return (value % (1 << (8 * length - 8)) | 128 << (8 * length - 8)).to_bytes(length, "big")
    return (b"%o" % abs(value))[: length - 1].rjust(length - 1, b"0") + b"\0"


def gzipped(content: bytes, rng: Random) -> bytes:
    """What gzip has packed, changed as a tar or anyhow, and packed again."""
    try:
        plain = zlib.decompressobj(31).decompress(content, 1 << 22)
    except zlib.error:
        raise Unfit from None
    try:
        plain = tar(plain, rng)
    except Unfit:
        plain = anyhow(plain, rng)
    pack = zlib.compressobj(1, zlib.DEFLATED, 31)
    return pack.compress(plain) + pack.flush()


def mat(content: bytes, rng: Random) -> bytes:
    """An element of MATLAB's version 5 changed, behind its compression if it is packed."""
    at = 128
    starts: list[int] = []
    while at + 8 <= len(content):
        starts.append(at)
        at += 8 + int.from_bytes(content[at + 4 : at + 8], "little")
    if not starts:
        raise Unfit
    at = rng.choice(starts)
    kind, length = (int.from_bytes(content[k : k + 4], "little") for k in (at, at + 4))
    body = content[at + 8 : at + 8 + length]
    body = _packed(body, rng) if kind == _COMPRESSED else anyhow(body, rng)
    head = kind.to_bytes(4, "little") + len(body).to_bytes(4, "little")
    return content[:at] + head + body + content[at + 8 + length :]
