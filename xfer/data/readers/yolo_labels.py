"""YOLO's label files: `class cx cy w h` per line, all but the class as shares of the picture.

5 columns         | a box
7, 9, ... columns | class and a polygon's points x y x y ...: the box around them
5 + K columns     | if data.yaml's kpt_shape means K numbers: a box; its keypoints are not read
no file, empty    | background
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from xfer.errors import DataError

Row = tuple[int, float, float, float, float]
# a share this far above 1 is not a rounding error: somebody wrote pixels
MAX_SHARE = 2.0


@dataclass
class YoloFile:
    """The content of a label file: class and x1, y1, x2, y2 as shares; and the number of repeated
    lines."""

    rows: list[Row] = field(default_factory=list[Row])
    repeated: int = 0


def read_yolo_text(path: Path, classes: int, keypoints: int = 0) -> YoloFile:
    """Read a label file.

    Args: keypoints: how many keypoint numbers follow each box.

    Raises: DataError, without the file's name, naming the first line that can't be used.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text") from None
    labels = YoloFile()
    seen: set[Row] = set()
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells:
            continue
        boxed = keypoints and len(cells) == 5 + keypoints
        row = _row(cells[:5] if boxed else cells, classes, f"line {number}")
        if row in seen:
            labels.repeated += 1
        else:
            labels.rows.append(row)
            seen.add(row)
    return labels


def _row(cells: list[str], classes: int, where: str) -> Row:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        raise DataError(f"{where}: {' '.join(cells)[:40]!r} are not numbers") from None
    if not all(map(math.isfinite, values)):
        raise DataError(f"{where}: a coordinate is not finite")
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        raise DataError(f"{where}: {len(values)} columns; a box has 5, a polygon 7, 9, ...")
    label = int(values[0])
    if label != values[0] or not 0 <= label < classes:
        raise DataError(f"{where}: unknown class {cells[0]}, there are {classes}, from 0")
    if max(values[1:]) > MAX_SHARE:
        raise DataError(f"{where}: {max(values[1:]):g} is not a share of the picture: pixels?")
    if len(values) == 5:
        x, y, width, height = values[1:]
        return label, x - width / 2, y - height / 2, x + width / 2, y + height / 2
    xs, ys = values[1::2], values[2::2]
    return label, min(xs), min(ys), max(xs), max(ys)
