"""What the cells of a table of boxes hold: four numbers, several boxes, or a record of objects.

4,4,26,20 in four columns                  | a box; nothing in all of them: a picture without boxes
[4, 4, 22, 16], "4 4 22 16"                | a box
[[4, 4, 22, 16], [1, 2, 3, 4]], 4 4 22 16;1 2 3 4 | several boxes
{"bbox": [[4, 4, 22, 16]], "categories": [0]}     | several boxes with their classes
(nothing), [], no_box                      | no box
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from xfer.data.sources.written import number, numbers

Box = list[float]
_NONE = frozenset(("", "[]", "no_box", "nobox", "none", "nan", "null", "no finding"))
_CLASSES = ("categories", "category", "labels", "label", "classes", "class", "category_id", "names")


def box_of_cells(cells: Sequence[str]) -> list[Box] | None:
    """The box in four cells; empty if there is none; None if they are not numbers."""
    if all(cell.casefold() in _NONE for cell in cells):
        return []
    found = [n for cell in cells if (n := number(cell)) is not None]
    return [found] if len(found) == len(cells) else None


def boxes_of_cell(cell: str) -> tuple[list[Box], list[str] | None] | None:
    """The boxes in one cell, and their classes if it gives them; None if it is something else."""
    if cell.casefold() in _NONE:
        return [], None
    if cell.startswith(("{", "[")):
        try:
            value: Any = json.loads(cell)
        except (ValueError, RecursionError):
            return None
        if isinstance(value, dict):
            boxes = _several(next((v for k, v in value.items() if "box" in k.casefold()), None))
            given = next((value[k] for k in _CLASSES if isinstance(value.get(k), list)), None)
            if boxes is None or (given is not None and len(given) != len(boxes)):
                return None
            return boxes, None if given is None else [str(one) for one in given]
        boxes = _several(value)
        return None if boxes is None else (boxes, None)
    boxes = [numbers(re.split(r"[\s,]+", part.strip()), 4) for part in cell.split(";")]
    whole = [box for box in boxes if box is not None]
    return (whole, None) if len(whole) == len(boxes) else None


def _several(value: Any) -> list[Box] | None:
    """The boxes of a list of four numbers, or of a list of such lists."""
    if not isinstance(value, list):
        return None
    if value and not isinstance(value[0], list):
        value = [value]
    boxes = [numbers(box, 4) for box in value]
    whole = [box for box in boxes if box is not None]
    return whole if len(whole) == len(boxes) else None
