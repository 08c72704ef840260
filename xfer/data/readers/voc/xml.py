"""Read a VOC annotation file: the picture's size, and the objects' boxes.

Source: the VOC development kit's readme, sec. 5 (annotations). A `part` (head, hand) has its own
name and box, so only direct children are read, by tag and in any order.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from xfer.data.sources.written import flag, picture_size
from xfer.errors import DataError, reader
from xfer.files import bytes_of

MAX_BYTES = 16 * 2**20
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class VocFile:
    """The content of an annotation file.

    names     | R class names
    boxes     | R corners as written: x1, y1, x2, y2 (in VOC 1-based, the last two inclusive)
    difficult | R flags; a missing one is False
    size      | (H, W); (0, 0) if not given
    picture   | the name of the picture as the file gives it, or ""
    """

    names: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    difficult: tuple[bool, ...]
    size: tuple[int, int]
    picture: str = ""


class _NoDoctype(ET.TreeBuilder):
    """Refuses a file with a document type, which could declare entities to expand."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise DataError("has a document type: entities are not expanded")


@reader
def read_voc_xml(path: Path) -> VocFile:
    """Read an annotation file.

    Raises: DataError, without the file's name, if it is not XML, has a document type, or holds an
        object without a name or without a box of four finite numbers.
    """
    try:
        root = ET.fromstring(bytes_of(path, MAX_BYTES), ET.XMLParser(target=_NoDoctype()))
    except DataError as error:
        raise DataError(error.message.removeprefix(f"{path}: ")) from None
    except OSError as error:
        raise DataError(error.strerror or str(error)) from None
    except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: unknown encoding
        raise DataError(f"not valid XML: {error}") from None
    if root.tag == "annotations" and root.find("image") is not None:
        raise DataError("is CVAT's own XML, of all pictures: export as COCO or Pascal VOC")
    names: list[str] = []
    boxes: list[tuple[float, float, float, float]] = []
    difficult: list[bool] = []
    for place, item in enumerate(root.findall("object"), 1):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise DataError(f"object {place} has no name")
        written = [item.findtext(f"bndbox/{key}") for key in CORNERS]
        corners = [corner for text in written if (corner := _number(text)) is not None]
        if len(corners) < len(CORNERS):
            raise DataError(f"the box of object {place} ({name}) is {written}")
        x1, y1, x2, y2 = corners
        names.append(name)
        boxes.append((x1, y1, x2, y2))
        difficult.append(bool(flag(item.findtext("difficult"))))
    whole = picture_size(root.findtext("size/height"), root.findtext("size/width"))
    picture = (root.findtext("filename") or "").strip()
    return VocFile(tuple(names), tuple(boxes), tuple(difficult), whole, picture)


def _number(text: str | None) -> float | None:
    """Parse a finite number; some in VOC 2011 are written as 45.7."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
