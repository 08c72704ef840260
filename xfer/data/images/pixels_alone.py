"""A picture file with nothing in it but what its pixels need.

Decoders refuse whole pictures for what lies beside the pixels: long text, a profile too large, a
wrong checksum of a note, a missing end. `pixels_alone` is asked after they have failed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from xfer.data.images.decode_error import CUT_OFF, DecodeError, cut_off

PNG = b"\x89PNG\r\n\x1a\n"
_CHUNK, _WORD = struct.Struct(">I4s").unpack_from, struct.Struct(">I").unpack_from
_VITAL = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
MAX_CHUNKS = 300_000  # each costs time; programs write pieces of 4 kB and more
_LONG_NOTES = 1 << 18  # bytes
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's colour types
# Adam7: first column, first row, columns and rows apart
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))  # fmt: skip
_EXIF, _ALPHA, _ICC, _XMP, _ANIMATED = 8, 16, 32, 4, 2  # flags of WebP's VP8X


def pixels_alone(data: bytes) -> bytes | None:
    """A PNG or WebP without what its pixels don't need, and with its end; None for other files, and
    for a WebP in which nothing but the pixels could be at fault.

    Raises: DecodeError, saying so, if pixels are missing or damaged.
    """
    if data.startswith(PNG):
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def png_whole(data: bytes) -> bool:
    """Whether a PNG has its end, and right checksums of all that its pixels need. Decoders differ
    in what they compare: without this, damage may pass, or be told of on stderr.

    Raises: DecodeError for a PNG in more pieces than any program writes.
    """
    at, last, view = len(PNG), len(data) - 12, memoryview(data)
    for _ in range(MAX_CHUNKS):
        if at > last:
            return False
        length, name = _CHUNK(data, at)
        if name == b"IEND":
            return True
        end = at + 8 + length
        if name in _VITAL and (end > last or _WORD(data, end)[0] != zlib.crc32(view[at + 4 : end])):
            return False
        at = end + 4
    raise DecodeError(f"lies in more than {MAX_CHUNKS:,} pieces: save it anew")


def without_png_notes(data: bytes) -> bytes:
    """A PNG without text, profiles and further frames where these are long: Pillow unpacks them,
    and 64 MB of notes take seconds. Args: data: a PNG that is whole."""
    if len(data) <= _LONG_NOTES:
        return data
    kept: list[tuple[int, int]] = []
    at, last = len(PNG), len(data) - 12
    while at <= last:
        length, name = _CHUNK(data, at)
        if name in _VITAL or name in (b"IEND", b"eXIf"):
            kept.append((at, at + 12 + length))
        at += 12 + length
        if name == b"IEND":
            break
    if len(data) - sum(end - start for start, end in kept) <= _LONG_NOTES:
        return data
    return b"".join((PNG, *(data[start:end] for start, end in kept)))


def exif_of_png(data: bytes) -> bytes | None:
    """The EXIF block of a PNG, if its checksum is right."""
    at = len(PNG)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"eXIf":
            body = data[at + 8 : at + 8 + length]
            return body if data[at : at + 12 + length] == _png_chunk(b"eXIf", body) else None
        at += length + 12
    return None


def _png(data: bytes) -> bytes:
    """Source: PNG specification (W3C, 2nd edition), sec. 5, 8.2 and 9."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise DecodeError(CUT_OFF if len(data) < 33 else "damaged (it begins without a header)")
    parts: dict[bytes, bytes] = {}
    pixels: list[bytes] = []
    changed = False
    for name, body, good in _png_chunks(data):
        if name == b"IDAT":
            pixels.append(body)
            changed |= good is False
        elif name in (b"IHDR", b"PLTE", b"tRNS"):
            if good is None:
                raise DecodeError(CUT_OFF)
            if not good:
                raise DecodeError(f"damaged (the checksum of {name.decode()} is wrong)")
            parts.setdefault(name, body)
        elif name == b"eXIf" and good:
            parts.setdefault(name, body)
    header = parts.get(b"IHDR", b"")
    if len(header) != 13:
        raise DecodeError("damaged (its header is not whole)")
    expected = _png_bytes(header)
    rows, compared = _inflated(b"".join(pixels), expected)
    if len(rows) < expected:
        raise cut_off(1 - len(rows) / expected)
    if changed and not compared:  # nothing else vouches for them
        raise DecodeError("damaged (the checksum of IDAT is wrong)")
    parts[b"IDAT"] = zlib.compress(rows, 0)
    order = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT")
    chunks = [_png_chunk(name, parts[name]) for name in order if name in parts]
    return b"".join((PNG, *chunks, _png_chunk(b"IEND", b"")))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool | None]]:
    """(name, content, whether its checksum is right) of each chunk; None if it is cut off."""
    at = len(PNG)
    while at + 8 < len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name == b"IEND":
            return
        body = data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        right = checksum == struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))
        yield name, body, right if len(checksum) == 4 else None
        at += length + 12


def _png_chunk(name: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))
    return struct.pack(">I", len(body)) + name + body + checksum


def _png_bytes(header: bytes) -> int:
    """The bytes of all rows, one more per row for its filter."""
    width, height, bits, colour = struct.unpack(">IIBB", header[:10])
    if colour not in CHANNELS or bits not in (1, 2, 4, 8, 16) or not width or not height:
        raise DecodeError("damaged (its header makes no sense)")
    depth = bits * CHANNELS[colour]
    if not header[12]:
        return height * (1 + -(-width * depth // 8))
    total = 0
    for left, top, across, down in _PASSES:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * depth // 8))
    return total


def _inflated(packed: bytes, most: int) -> tuple[bytes, bool]:
    """What is packed, as far as it is there and up to `most` bytes; and whether its own checksum
    was there to be compared."""
    unpacker = zlib.decompressobj()
    try:
        rows = unpacker.decompress(packed, most)
        # unpacks the rest, so that its own checksum is compared
        if len(rows) == most and not unpacker.eof:
            unpacker.decompress(unpacker.unconsumed_tail, 1 << 16)
        return rows, unpacker.eof
    except zlib.error as error:
        raise DecodeError(f"damaged (its pixels can't be unpacked: {error})") from None


def _webp(data: bytes) -> bytes | None:
    """Source: RFC 9649, sec. 2."""
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        whole = len(body) == length
        if name in (b"VP8 ", b"VP8L", b"ANMF", b"ALPH") and not whole:
            raise cut_off(1 - len(body) / max(1, length))
        if whole:
            chunks.setdefault(name, body)
        if name in (b"VP8 ", b"VP8L") and b"VP8X" not in chunks:
            break
        at += 8 + length + (length & 1)
    pixels = next((name for name in (b"VP8 ", b"VP8L") if name in chunks), None)
    if pixels is None:
        if b"ANMF" in chunks:
            return None
        raise DecodeError(CUT_OFF)
    names = [name for name in (b"VP8X", b"ALPH", pixels, b"EXIF") if name in chunks]
    if b"VP8X" in chunks:
        own = bytearray(chunks[b"VP8X"])
        if not own:
            return None
        own[0] &= 0xFF ^ (_ICC | _XMP | _ANIMATED)
        own[0] &= 0xFF if b"EXIF" in chunks else 0xFF ^ _EXIF
        chunks[b"VP8X"] = bytes(own)
    else:
        names = [pixels]
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(chunks[name])) + chunks[name] + b"\0" * (len(chunks[name]) & 1)
        for name in names
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body
