"""Finding pictures in folders, leaving out junk and surviving links that lead in circles."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xfer.errors import DataError
from xfer.files import NotAFile, no_file

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        "jpg", "jpeg", "jpe", "jfif", "mpo", "png", "gif", "bmp", "tif", "tiff", "webp",
        "ppm", "pgm", "pbm", "avif", "jp2", "dib", "apng", "pnm", "j2k", "jpx", "jpf", "j2c",
        "pjpeg", "pjp", "jif", "jfi",
    )
)  # fmt: skip
# photo.jpg_large: browsers save pictures under the address's own ending
_SIZE = re.compile(r"[_:!-](?:large|medium|small|orig|original|\d+x\d+)$")
JUNK = frozenset(
    {
        "thumbs.db", "desktop.ini", "@eadir", "__macosx", "$recycle.bin", "lost+found", "#recycle",
        "@recycle", "@recently-snapshot", "system volume information", "__pycache__", "recycler",
    }
)  # fmt: skip


def is_junk(name: str) -> bool:
    """Whether a system left it among the pictures: dot-files, ._x.jpg, Thumbs.db, __MACOSX,
    lost+found, Excel's ~$ of an open file."""
    return name.startswith((".", "~$")) or name.casefold() in JUNK


def is_picture(name: str) -> bool:
    """Whether the name has the extension of a picture that is read."""
    suffix = os.path.splitext(name)[1].casefold()  # noqa: PTH122 (a Path takes ten times as long)
    return suffix in EXTENSIONS or (len(suffix) > 5 and _SIZE.sub("", suffix) in EXTENSIONS)


@dataclass
class WalkResult:
    """What a walk finds.

    pictures | paths, sorted by code point of their path below the top
    junk     | how many entries of each kind of junk were skipped
    others   | how many files of each other extension
    """

    pictures: list[Path] = field(default_factory=list[Path])
    junk: Counter[str] = field(default_factory=Counter[str])
    others: Counter[str] = field(default_factory=Counter[str])

    def notes(self) -> list[str]:
        """Lines that say what was skipped."""
        lines: list[str] = []
        for counts, what in ((self.junk, "junk"), (self.others, "other files")):
            if counts:
                listed = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
                lines.append(f"skipped {counts.total()} {what} ({listed})")
        return lines


def walk(top: Path, result: WalkResult | None = None) -> WalkResult:
    """Find every picture below a folder; links are followed, each folder is entered once."""
    result = result if result is not None else WalkResult()
    places = [*_walk(top, result, set())]
    result.pictures.extend(path for _, path in sorted(places))
    return result


def _walk(top: Path, result: WalkResult, seen: set[str]) -> Iterator[tuple[str, Path]]:
    real = os.path.realpath(top)
    if real in seen:
        return
    seen.add(real)
    for entry in listing(top):
        if is_junk(entry.name):
            result.junk["dot-files" if entry.name.startswith(".") else entry.name] += 1
        elif is_dir(entry):
            yield from _walk(Path(entry.path), result, seen)
        elif is_picture(entry.name):
            yield entry.path, Path(entry.path)
        else:
            result.others[Path(entry.name).suffix.casefold() or "without extension"] += 1


MAX_DEPTH = 100  # of a folder's path
# pipes, devices and sockets among the entries that `listing` has seen
_not_files: set[str] = set()


def listing(folder: Path) -> list[os.DirEntry[str]]:
    """A folder's entries sorted by name; empty if it can't be read."""
    if str(folder).count(os.sep) > MAX_DEPTH:  # to follow links takes longer with each
        raise DataError(f"{str(folder)[:60]}...: folders in folders, {MAX_DEPTH} deep and more")
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []
    for entry in found:
        if not _is_file(entry) and not is_dir(entry) and no_file(entry.path):
            _not_files.add(entry.path)
    return found


def check_files(top: Path) -> None:
    """Raises DataError for a pipe, a device or a socket that was seen below a folder, where a
    table, a list or a note may be meant. Pictures are left to those who decode them."""
    start = os.path.join(top, "")  # noqa: PTH118
    for path in sorted(_not_files):
        name = path.rpartition(os.sep)[2]
        if not path.startswith(start) or is_picture(name) or is_junk(name):
            continue
        what = no_file(path)  # it may be gone
        # what a program leaves in a folder to talk to another bears no name of data
        if what and Path(name).suffix not in ("", ".sock"):
            raise NotAFile(readable(path), what)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def subfolders(folder: Path) -> list[Path]:
    """A folder's subfolders sorted by name, without junk."""
    return [Path(e.path) for e in listing(folder) if not is_junk(e.name) and is_dir(e)]


def has_picture(folder: Path, deep: bool = True) -> bool:
    """Whether a folder holds a picture; `deep`: at any depth. Stops at the first."""
    inside = listing(folder)
    if any(is_picture(e.name) and not is_junk(e.name) and not is_dir(e) for e in inside):
        return True
    return deep and bool(_first_deep(folder, set()))


def _first_deep(folder: Path, seen: set[str]) -> bool:
    real = os.path.realpath(folder)
    if real in seen:
        return False
    seen.add(real)
    return has_picture(folder, deep=False) or any(_first_deep(f, seen) for f in subfolders(folder))


def find_pictures(folder: Path) -> list[Path]:
    """Every picture below a folder, sorted by name, without junk."""
    return walk(folder).pictures


def nfc(text: str) -> str:
    """Text in Unicode's composed form: macOS may have written the same name decomposed."""
    return unicodedata.normalize("NFC", text)


def readable(text: str) -> str:
    """A file's name as text that can be written anywhere, even if it is not valid UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a pair, as JSON can write it: "\ud800"
        return text.encode("utf-8", "backslashreplace").decode()
