"""Name files of labels that other tools write and that are not read: CVAT's own XML, Datumaro's,
Supervisely's and Label Studio's own json, KITTI's txt, ...
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from xfer.data.images.walk import is_junk, listing, subfolders
from xfer.files import NotAFile, head_of

HEAD = 1 << 16
FOLDERS, FILES = 60, 4  # folders that are looked into, files of an ending in each
EXPORT = "export or convert it to COCO's json, VOC's xml or YOLO's txt"

# what a json of the tool holds near its beginning
_JSON = (
    ("Datumaro's json", (r'"dm_format_version"|"label_id"', r'"items"|"annotations"')),
    ("Supervisely's json", (r'"classTitle"|"geometryType"',)),
    ("Label Studio's own json", (r'"from_name"', r'"annotations"|"completions"|"result"')),
    ("CreateML's json", (r'"coordinates"', r'"image(filename)?"')),
    ("json of BDD100K or Scalabel", (r'"box2d"|"poly2d"',)),
    ("Labelbox's json", (r'"Labeled Data"|"data_row"',)),
    ("V7 Darwin's json", (r'"bounding_box"', r'"slots"|"dataset"|"image"')),
)
_XML = (
    ("CVAT's own XML", (r"<annotations\b", r"<image\b[^>]*\bname=|<track\b")),
    ("dlib's XML", (r"<dataset\b", r"<image\b[^>]*\bfile=")),
)
_NUMBER = r"-?\d+(?:\.\d+)?"
_LINES = (
    ("KITTI's txt", rf"[A-Za-z_]+(?: {_NUMBER}){{14,15}}"),
    ("DOTA's txt", rf"(?:{_NUMBER} ){{8}}[A-Za-z][\w-]* [0-2]"),
    ("VisDrone's txt", r"\d+(?:,-?\d+){7},?"),
)


def other_tool(path: Path) -> tuple[Path, str] | None:
    """The first file of labels of another tool at a path or below it, and what it is, in words;
    None if none is seen. Looks into a few files only."""
    for file in [path] if path.is_file() else _files(path):
        if (what := _what(file)) is not None:
            return file, what
    return None


def _files(top: Path) -> Iterator[Path]:
    """A few files of each ending in the folders at the top."""
    below = subfolders(top)
    deeper = itertools.chain.from_iterable(map(subfolders, below[:FOLDERS]))
    for folder in itertools.islice(itertools.chain([top], below, deeper), FOLDERS):
        seen = {".json": 0, ".xml": 0, ".txt": 0}
        for entry in listing(folder):
            ending = Path(entry.name).suffix.casefold()
            if ending in seen and seen[ending] < FILES and not is_junk(entry.name):
                seen[ending] += 1
                yield Path(entry.path)


def _what(file: Path) -> str | None:
    try:
        text = head_of(file, HEAD).decode("utf-8", "replace")
    except (OSError, NotAFile):
        return None
    ending = file.suffix.casefold()
    for tool, signs in {".json": _JSON, ".xml": _XML}.get(ending, ()):
        if all(re.search(sign, text) for sign in signs):
            return tool
    if ending != ".txt":
        return None
    lines = [line.strip() for line in text.splitlines()[:20] if line.strip()]
    lines = [line for line in lines if not line.startswith(("imagesource", "gsd"))]  # DOTA's head
    for tool, form in _LINES:
        if lines and all(re.fullmatch(form, line) for line in lines[:-1] or lines):
            return tool
    return None
