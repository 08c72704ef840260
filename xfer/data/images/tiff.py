"""TIFF's tags, read without decoding: whose pixels they are, and whether they are all there.

Source: TIFF 6.0 (Adobe 1992), sec. 2; DNG 1.6, ch. 4; BigTIFF (AWare Systems).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
MAKE, PALETTE = 271, 320
STRIPS, SAMPLES, STRIP_BYTES, SUB_IFDS = 273, 277, 279, 330
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 322, 323, 324, 325
EXTRA, FORMAT, DNG_VERSION = 338, 339, 50706

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# bytes of a value of each type; 16, 17 and 18 are BigTIFF's
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_ENTRIES = 4096  # more than any file has
_VALUES = 1 << 16  # of one tag, that are looked at

# pixels behind a mosaic of colours, and compressions of cameras alone
_MOSAICS = {32803, 34892}
_OF_CAMERAS = {32767, 32770, 34713, 65000, 65535}
_MAKERS = (
    ("nikon", "NEF"), ("sony", "ARW"), ("canon", "CR2"), ("pentax", "PEF"), ("ricoh", "PEF"),
    ("samsung", "SRW"), ("hasselblad", "3FR"), ("phase one", "IIQ"), ("epson", "ERF"),
    ("kodak", "DCR"), ("leaf", "MOS"), ("mamiya", "MEF"),
)  # fmt: skip
_FORMATS = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex"}
# compressions that libtiff knows in Pillow
_PACKINGS = {1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34676, 34677, 34925, 50000, 50001}
SAVE = "save it as 8 or 16 bit"
# what decoding needs: size, coding, where the pixels lie, colours, orientation (TIFF 6.0, sec. 8 to
# 23); everything else is a note
_NEEDED = frozenset({256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317,
                     320, 321, 322, 323, 324, 325, 332, 338, 339, 347, *range(512, 522), 529, 530,
                     531, 532, 50674})  # fmt: skip
# those of them without which there are no pixels
_VITAL = (WIDTH, HEIGHT, BITS, STRIPS, STRIP_BYTES, TILES, TILE_BYTES, PALETTE)

Tags = dict[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag of a directory: where its twelve (BigTIFF: twenty) bytes lie, and those of its values.

    tag, kind, count | its number, the type and number of its values
    at               | offset of the entry
    values, end      | offsets of the values, and of what follows them
    """

    tag: int
    kind: int
    count: int
    at: int
    values: int
    end: int


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of a TIFF: where it lies, and its entries.

    order | little or big; large | whether it is BigTIFF; at | offset of the number of entries
    whole | whether all its entries lie in the file; next | offset of the next directory, or 0
    """

    order: str
    large: bool
    at: int
    entries: tuple[Entry, ...]
    whole: bool
    next: int


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as a TIFF does; cameras' raw pictures often do."""
    return data[:4] in _STARTS


def read_directory(data: bytes, at: int | None = None) -> Directory | None:
    """The first directory of a TIFF, or the one at an offset; None if the file ends before it."""
    if not is_tiff(data):
        return None
    order = "little" if data[:2] == b"II" else "big"
    large = b"+" in data[2:4]
    word, size = (8, 20) if large else (4, 12)
    if at is None:
        start = 8 if large else 4
        at = int.from_bytes(data[start : start + word], order)
    count_bytes = 8 if large else 2
    if at < 8 or at + count_bytes > len(data):
        return None
    count = int.from_bytes(data[at : at + count_bytes], order)
    first = at + count_bytes
    entries: list[Entry] = []
    for place in range(first, min(first + min(count, _ENTRIES) * size, len(data) - size + 1), size):
        tag, kind = (int.from_bytes(data[place + k : place + k + 2], order) for k in (0, 2))
        number = int.from_bytes(data[place + 4 : place + 4 + word], order)
        inline = place + 4 + word
        values, length = inline, number * _SIZES.get(kind, 1)
        if length > word:
            values = int.from_bytes(data[inline : inline + word], order)
        entries.append(Entry(tag, kind, number, place, values, values + length))
    end = first + count * size
    following = int.from_bytes(data[end : end + word], order)
    return Directory(order, large, at, tuple(entries), len(entries) == count, following)


def read_tags(data: bytes, directory: Directory, wanted: Sequence[int]) -> Tags:
    """The whole-number values of some tags; tags that are absent or lie outside are left out."""
    found: Tags = {}
    for entry in directory.entries:
        size = _SIZES.get(entry.kind, 0)
        if entry.tag not in wanted or entry.kind in (5, 10, 11, 12) or not size:
            continue
        count = min(entry.count, _VALUES)
        block = data[entry.values : entry.values + count * size]
        if count and len(block) == count * size:
            found[entry.tag] = tuple(
                int.from_bytes(block[k : k + size], directory.order)  # pyright: ignore[reportArgumentType]
                for k in range(0, len(block), size)
            )
    return found


def raw_kind(data: bytes) -> str | None:
    """The kind of a camera's raw picture that is stored in TIFF's manner, "" if it is not known;
    None for anything else. Such a file holds a small preview, which is not the picture."""
    if not is_tiff(data):
        return None
    if data[8:10] == b"CR":
        return "CR2"
    directory = read_directory(data)
    if directory is None:
        return None
    look = (COMPRESSION, PHOTOMETRIC, MAKE, SUB_IFDS, DNG_VERSION)
    tags = read_tags(data, directory, look)
    if DNG_VERSION in tags:
        return "DNG"
    seen = [tags]
    for place in tags.get(SUB_IFDS, ())[:8]:
        below = read_directory(data, place)
        if below is not None:
            seen.append(read_tags(data, below, look))
    if not any(
        tag.get(PHOTOMETRIC, (0,))[0] in _MOSAICS or tag.get(COMPRESSION, (0,))[0] in _OF_CAMERAS
        for tag in seen
    ):
        return None
    maker = bytes(v & 255 for v in tags.get(MAKE, ())).decode("latin-1").casefold()
    return next((kind for name, kind in _MAKERS if name in maker), "")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a TIFF stores its pixels.

    channels, bits, kind | number; bits and kind (uint, int, float) of each value
    packing              | Compression: 1 none, 5 LZW, 7 JPEG, 8 deflate, ...
    extra                | what the channels after the colours are: 0 unknown, 1 or 2 opacity
    colours              | PhotometricInterpretation: 0, 1 grey, 2 RGB, 3 palette, 5 CMYK, ...
    pages                | whether another page follows that is no smaller copy of the first
    missing              | share of the pixels' bytes that lie behind the end of the file
    """

    channels: int
    bits: int
    kind: str
    packing: int
    extra: tuple[int, ...]
    colours: int
    pages: bool
    missing: float

    def refusal(self) -> str:
        """Why no decoder that we use reads such pixels, in words."""
        values = f"{self.kind}{self.bits}"
        if self.channels not in (1, 3, 4):
            of = f" of {values}" if values != "uint8" else ""
            return (
                f"has {self.channels} channels{of}, not 1, 3 or 4: save those to use as RGB, "
                "with 8 bits each"
            )
        if self.kind != "uint" or self.bits > 16:
            of = "" if self.channels == 1 else f" in {self.channels} channels"
            return f"holds {values} values{of}: {SAVE}"
        if self.channels > 1 and self.colours in (0, 1):
            return f"has {self.channels} channels that are not marked as RGB: save it as RGB"
        if self.packing not in _PACKINGS:
            return f"is packed in a way that is not read (TIFF's compression {self.packing})"
        return ""


def layout_of(data: bytes) -> Layout | None:
    """How the first picture of a TIFF is stored; None if the file ends before its tags do."""
    directory = read_directory(data)
    if directory is None or not directory.whole:
        return None
    if any(entry.tag in _VITAL and entry.end > len(data) for entry in directory.entries):
        return None
    tags = read_tags(data, directory, tuple(_NEEDED))
    starts = tags.get(STRIPS) or tags.get(TILES) or ()
    counts = tags.get(STRIP_BYTES) or tags.get(TILE_BYTES) or ()
    parts = [*zip(starts, counts, strict=False)]
    there = sum(max(0, min(count, len(data) - start)) for start, count in parts)
    total = sum(count for _, count in parts)
    return Layout(
        tags.get(SAMPLES, (1,))[0], max(tags.get(BITS, (1,))),
        _FORMATS.get(tags.get(FORMAT, (1,))[0], "uint"), tags.get(COMPRESSION, (1,))[0],
        tags.get(EXTRA, ()),
        tags.get(PHOTOMETRIC, (1,))[0], _has_pages(data, directory),
        1 - there / total if total else 0.0,
    )  # fmt: skip


def _has_pages(data: bytes, directory: Directory) -> bool:
    following = read_directory(data, directory.next)
    if following is None:
        return False
    return not read_tags(data, following, (SUBFILE,)).get(SUBFILE, (0,))[0] & 1


def without_notes(data: bytes) -> bytes:
    """A TIFF without the tags that decoding does not need, and without further pages. Decoders warn
    of odd ones on stderr, or refuse the picture."""
    directory = read_directory(data)
    if directory is None:
        return data
    size, order = (20 if directory.large else 12), directory.order
    kept = [
        data[entry.at : entry.at + size]
        for entry in directory.entries
        if entry.tag in _NEEDED and entry.end <= len(data)
    ]
    width, word = (8, 8) if directory.large else (2, 4)
    number = len(kept).to_bytes(width, order)  # pyright: ignore[reportArgumentType]
    first = b"".join((number, *kept, bytes(word)))
    view = memoryview(data)  # a file may be large
    return b"".join((view[: directory.at], first, view[directory.at + len(first) :]))
