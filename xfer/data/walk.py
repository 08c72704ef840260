"""Finding picture files, and leaving out what systems leave beside them."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .mpo .jp2 .avif".split()
)
JUNK_NAMES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})
JUNK_FOLDERS = frozenset({"@eadir", "__macosx", "__pycache__"})


def is_junk(name: str) -> bool:
    """Dot-files (._x.jpg among them), thumbnails' indexes, folders of archives and servers."""
    return name.startswith(".") or name.lower() in JUNK_NAMES or name.lower() in JUNK_FOLDERS


def is_picture(name: str) -> bool:
    """Whether the suffix is a picture's."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, junk left out, sorted by code point."""
    return sorted(
        (p for p in folder.iterdir() if p.is_dir() and not is_junk(p.name)), key=lambda p: p.name
    )


class Walk:
    """Lists the pictures below a folder and counts what was left out.

    junk  | files and folders that systems leave behind
    other | files that are no pictures by their suffix, by suffix
    """

    def __init__(self) -> None:
        self.junk = 0
        self.other: Counter[str] = Counter()

    def pictures(self, folder: Path) -> list[Path]:
        """Every picture below, sorted by path; links are followed, a loop of links once."""
        return sorted(self._below(folder, set()), key=lambda p: p.as_posix())

    def _below(self, folder: Path, seen: set[str]) -> Iterator[Path]:
        real = os.path.realpath(folder)
        if real in seen:
            return
        seen = seen | {real}  # the way down to here: only a folder inside itself is a loop
        for entry in os.scandir(folder):
            if is_junk(entry.name):
                self.junk += 1
            elif entry.is_dir():
                yield from self._below(Path(entry.path), seen)
            elif is_picture(entry.name):
                yield Path(entry.path)
            else:
                self.other[os.path.splitext(entry.name)[1].lower() or entry.name] += 1  # noqa: PTH122

    def notes(self) -> list[str]:
        """What was left out, as lines for the user."""
        lines = [f"skipped {self.junk} junk files (dot-files, Thumbs.db and the like)"]
        found = ", ".join(f"{n} {suffix}" for suffix, n in self.other.most_common(5))
        lines.append(f"skipped files that are no pictures: {found}")
        return [line for line, there in zip(lines, (self.junk, self.other), strict=True) if there]


def find_pictures(folder: Path) -> list[Path]:
    """Every picture below a folder, sorted by path."""
    return Walk().pictures(folder)


def nfc(text: str) -> str:
    """Composed form: macOS writes decomposed names, label files composed ones."""
    return unicodedata.normalize("NFC", text)
