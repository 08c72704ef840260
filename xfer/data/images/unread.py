"""What a file is that is not read, by its first bytes: HEIC, a camera's raw picture, a web page.

The name of a file says little: phones' exports hold HEIC called .jpg, downloads hold HTML.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from xfer.data.images.tiff import is_tiff, raw_kind
from xfer.data.images.walk import is_dir, is_junk, is_picture, listing

# cameras' raw pictures
RAW_ENDINGS = frozenset(
    f".{name}"
    for name in (
        "3fr", "arw", "bay", "cap", "cr2", "cr3", "crw", "dcr", "dcs", "dng", "drf", "eip", "erf",
        "fff", "gpr", "iiq", "k25", "kdc", "mef", "mos", "mrw", "nef", "nrw", "orf", "pef", "ptx",
        "raf", "raw", "rw2", "rwl", "rwz", "sr2", "srf", "srw", "x3f",
    )
)  # fmt: skip
# endings of picture files of kinds that are not read, so that a folder of them can be named
UNREAD_ENDINGS = RAW_ENDINGS | frozenset(
    f".{name}"
    for name in (
        "heic", "heif", "heics", "heifs", "hif", "avci", "jxl", "jxr", "wdp", "hdp", "jls",
        "psd", "psb", "xcf", "svg", "svgz", "eps", "wmf", "emf", "cdr", "dcm", "dicom", "nii",
        "mha", "mhd", "nrrd", "exr", "hdr", "tga", "pcx", "ico", "icns", "dds", "qoi", "sgi",
        "xpm", "xbm", "fits", "djvu", "svs", "ndpi", "mrxs", "vsi", "czi", "lif", "nd2",
    )
)  # fmt: skip

# how endings begin that browsers give to pictures: .jpg_large, .png!d
_NEARLY = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif")

# how the files of a kind that is read begin
_READ = (
    (b"\xff\xd8\xff\xf7", ""),  # JPEG-LS, which the next line would take
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    *((b"P%d%c" % (kind, space), "PPM") for kind in range(1, 7) for space in b" \t\r\n"),
)

_PICTURES = (
    (b"\xff\xd8\xff\xf7", "JPEG-LS"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"8BPS", "a Photoshop document"),
    (b"gimp xcf", "a GIMP document"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"AT&TFORM", "DjVu"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"PF\n", "PFM in colour"),
    (b"SIMPLE  =", "FITS"),
    (b"NRRD000", "NRRD"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"icns", "ICNS"),
    (b"\0\0\x01\0", "ICO"),
    (b"\0\0\x02\0", "a cursor"),
)
_RAW = (
    (b"FUJIFILMCCD-RAW", "RAF"),
    (b"IIRO", "ORF"),
    (b"IIRS", "ORF"),
    (b"MMOR", "ORF"),
    (b"IIU\0", "RW2"),
    (b"FOVb", "X3F"),
    (b"\0MRM", "MRW"),
    (b"II\x1a\0\0\0HEAPCCDR", "CRW"),
)
_OTHERS = (
    (b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)"),
    (b"\0\0\x01\xba", "a video (MPEG)"),
    (b"\0\0\x01\xb3", "a video (MPEG)"),
    (b"FLV\x01", "a video (FLV)"),
    (b"OggS", "Ogg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (WMV)"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"SQLite format 3\0", "a SQLite database"),
    (b"PAR1", "Parquet"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)  # fmt: skip
_HTML, _SVG = "is HTML, not a picture", "is SVG, a drawing without pixels"
# text, in lower case, after blanks and a byte order mark
_TEXTS = (
    (b"<!doctype html", _HTML),
    (b"<html", _HTML),
    (b"<head", _HTML),
    (b"<svg", _SVG),
    (b"<!doctype svg", _SVG),
    (b"version https://git-lfs", "is a Git LFS pointer: fetch the file itself"),
    (b"%pdf", "is PDF, not a picture"),
    (b"%!ps", "is PostScript, a drawing without pixels"),
    (b"{", "is text, not a picture"),
)

# brands of files in boxes (ISO/IEC 14496-12); AVIF is one of them
_HEIC = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AVIF = frozenset({b"avif", b"avis"})
UNKNOWN = "is not a picture in a known format"


def kind_of(head: bytes) -> str | None:
    """The format of a picture that is read (JPEG, PNG, TIFF ...), from its first bytes; None for
    everything else, and for cameras' raw pictures in TIFF's manner. 32 bytes are enough for all
    but these: give 64 KB where a name can't be trusted."""
    for mark, kind in _READ:
        if head.startswith(mark):
            return kind or None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if _brands(head) & _AVIF:
        return "AVIF"
    return "TIFF" if is_tiff(head) and raw_kind(head) is None else None


def what_is(head: bytes, name: str = "") -> str:
    """What a file is that no decoder reads: "is HEIC, ...", "is HTML, not a picture".

    Args: head: its first bytes; name: of the file, looked at only if the bytes say nothing.
    """
    raw = _raw(head)
    if raw is not None:
        of = f" ({raw})" if raw else ""
        return f"is a camera's raw picture{of}, which is not read: save it as JPEG, PNG or TIFF"
    picture = _picture(head)
    if picture:
        return f"is {picture}, which is not read: save it as JPEG or PNG"
    other = _other(head)
    if other:
        return f"is {other}, not a picture"
    if not head.strip(b"\0"):
        return "holds only zeros"
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, meaning in _TEXTS:
        if start.startswith(mark):
            return meaning
    if start.startswith((b"<?xml", b"<!--")):
        return _SVG if b"<svg" in start else "is XML, not a picture"
    if head.startswith(b"\x89PNG"):
        return "cut off" if len(head) < 8 else "damaged (line ends in it were changed, as in text)"
    ending = Path(name).suffix.casefold()
    if _is_text(head[:512]):
        return "is text, not a picture"
    if ending in RAW_ENDINGS:
        return f"is not read: by its name ({ending}) a camera's raw picture"
    if ending in UNREAD_ENDINGS:
        return f"is not read: pictures of its kind ({ending}) are not"
    return UNKNOWN


def _brands(head: bytes) -> set[bytes]:
    """The brands of a file in boxes, the main one and those that it is compatible with."""
    if head[4:8] != b"ftyp":
        return set()
    box = head[8 : min(max(int.from_bytes(head[:4], "big"), 12), 256)]
    return {box[at : at + 4] for at in range(0, len(box) - 3, 4) if at != 4}


def _raw(head: bytes) -> str | None:
    """The kind of a camera's raw picture, "" if it is not known; None for anything else."""
    for mark, kind in _RAW:
        if head.startswith(mark):
            return kind
    if head[4:12] == b"ftypcrx ":
        return "CR3"
    return raw_kind(head)


def _picture(head: bytes) -> str | None:
    for mark, kind in _PICTURES:
        if head.startswith(mark):
            return kind
    brands = _brands(head)
    if brands & _AVIF:
        return "AVIF"
    if brands & _HEIC:
        return "HEIC"
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return "NIfTI"
    return None


def _other(head: bytes) -> str | None:
    for mark, kind in _OTHERS:
        if head.startswith(mark):
            return kind
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "a video (MP4 or QuickTime)"
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WAVE"):
        return "a video (AVI)" if head[8:12] == b"AVI " else "sound (WAV)"
    if head[257:262] == b"ustar":
        return "a tar archive"
    return None


def _is_text(head: bytes) -> bool:
    """Whether these bytes are plain text; a character may be cut in two at their end."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if len(head) - error.start > 3:
            return False
        text = head[: error.start].decode()
    return bool(text) and all(sign.isprintable() or sign in "\t\r\n\f" for sign in text)


def is_unread(name: str) -> bool:
    """Whether the name has the ending of a picture that is not read: .heic, .cr2, .jpg_large."""
    stem, dot, ending = name.rpartition(".")  # text: a path costs ten times as much
    ending = dot + ending.casefold() if stem else ""
    return ending in UNREAD_ENDINGS or (ending.startswith(_NEARLY) and not is_picture(name))


def unread_pictures(folders: Iterable[Path], most: int = 20_000) -> list[Path]:
    """The files in or below these folders that are pictures of kinds that are not read, by their
    endings. Looks at no more than `most` entries, so that huge sets cost nothing."""
    found: list[Path] = []
    todo, seen = list(folders), set[str]()
    while todo and most > 0:
        folder = todo.pop(0)
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        for entry in listing(folder):
            most -= 1
            if is_junk(entry.name):
                continue
            if is_dir(entry):
                todo.append(Path(entry.path))
            elif is_unread(entry.name):
                found.append(Path(entry.path))
    return sorted(found)
