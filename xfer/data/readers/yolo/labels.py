"""YOLO's label files: `class cx cy w h` per line, all but the class as shares of the picture.

5 columns         | a box
6 columns         | a box and the whole number of its track (CVAT), which is not read
7, 9, ... columns | class and a polygon's points x y x y ...: the box around them
5 + K columns     | if data.yaml's kpt_shape means K numbers: a box; its keypoints are not read
no file, empty    | background
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from xfer.errors import DataError, reader
from xfer.files import NOTE, text_of

Row = tuple[int, float, float, float, float]
# a share this far above 1 is not a rounding error: somebody wrote pixels
MAX_SHARE = 2.0


@dataclass
class YoloFile:
    """The content of a label file.

    rows     | class and x1, y1, x2, y2 as shares
    outlines | of each row, the points x y x y ... of its polygon as shares; () for a box
    repeated | the number of repeated lines
    tracks   | the number of lines with a track
    """

    rows: list[Row] = field(default_factory=list[Row])
    outlines: list[tuple[float, ...]] = field(default_factory=list[tuple[float, ...]])
    repeated: int = 0
    tracks: int = 0


@reader
def read_yolo_text(path: Path, classes: int, keypoints: int = 0) -> YoloFile:
    """Read a label file.

    Args: keypoints: how many keypoint numbers follow each box.

    Raises: DataError, without the file's name, naming the first line that can't be used.
    """
    try:
        lines = text_of(path, NOTE).splitlines()
    except OSError as error:
        raise DataError(error.strerror or str(error)) from None
    except DataError as error:
        raise DataError(error.message.removeprefix(f"{path}: ")) from None
    labels = YoloFile()
    seen: set[tuple[Row, tuple[float, ...]]] = set()
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells:
            continue
        boxed = keypoints and len(cells) == 5 + keypoints
        row, outline = _row(cells[:5] if boxed else cells, classes, f"line {number}")
        labels.tracks += len(cells) == 6 and not boxed
        if (row, outline) in seen:
            labels.repeated += 1
        else:
            labels.rows.append(row)
            labels.outlines.append(outline)
            seen.add((row, outline))
    return labels


def _row(cells: list[str], classes: int, where: str) -> tuple[Row, tuple[float, ...]]:
    """A line's class and box, and the points of its polygon, if it is one."""
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        raise DataError(f"{where}: {' '.join(cells)[:40]!r} are not numbers") from None
    if not all(map(math.isfinite, values)):
        raise DataError(f"{where}: a coordinate is not finite")
    if len(values) == 6:
        if values[5] != int(values[5]) or values[5] < 0:
            raise DataError(
                f"{where}: 6 columns, the last {cells[5]}: a box has 5; with a score these are "
                "predictions, with the number of a track it is whole"
            )
        values.pop()
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        raise DataError(f"{where}: {len(values)} columns; a box has 5, a polygon 7, 9, ...")
    label = int(values[0])
    if label != values[0] or not 0 <= label < classes:
        raise DataError(f"{where}: unknown class {cells[0]}, there are {classes}, from 0")
    if max(values[1:]) > MAX_SHARE:
        raise DataError(f"{where}: {max(values[1:]):g} is not a share of the picture: pixels?")
    if len(values) == 5:
        x, y, width, height = values[1:]
        return (label, x - width / 2, y - height / 2, x + width / 2, y + height / 2), ()
    xs, ys = values[1::2], values[2::2]
    return (label, min(xs), min(ys), max(xs), max(ys)), tuple(values[1:])
