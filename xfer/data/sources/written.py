"""Flags, ids and numbers as files write them: one reading for every format.

flag   | 1, 1.0, "1", "true", "yes" are true; 0, "0", "0.0", "false", "no", "", null are not
id     | 3, 3.0, "3" and "3.0" are one id; "003" is another
number | 4, 4.0 and "4.0" are one number; true and null are none
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

Id = int | str
# Python reads no longer whole number from text: the time would grow with the square of its length
DIGITS = sys.int_info.default_max_str_digits
MAX_SIDE = 2**31 - 1  # of a picture, in pixels
_TRUE = frozenset(("1", "true", "t", "yes", "y"))
_FALSE = frozenset(("", "0", "false", "f", "no", "n", "none", "null", "unspecified"))


def flag(value: Any) -> bool | None:
    """Whether a flag is set; None for what is not a flag."""
    if value is None or isinstance(value, (bool, int, float)):
        return None if isinstance(value, float) and math.isnan(value) else bool(value)
    if not isinstance(value, str):
        return None
    text = value.strip().casefold()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    found = number(text)
    return None if found is None or math.isnan(found) else bool(found)


def plain_id(value: Any) -> Id | None:
    """An id for comparison: 3, 3.0, "3" and "3.0" are the same, "003" is another; None: not an
    id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        whole = value.removesuffix(".0")
        found = whole_number(whole)
        return found if found is not None and str(found) == whole else value or None
    return value if isinstance(value, int) else None


def whole_number(text: str) -> int | None:
    """The number that decimal digits write; None for other text, ² among it, and beyond DIGITS."""
    return int(text) if text.isdecimal() and len(text) <= DIGITS else None


def number(value: Any) -> float | None:
    """A number, which may be written as text; infinite if it is too large; None: not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:
        return math.inf


def picture_size(height: Any, width: Any) -> tuple[int, int]:
    """The height and width of a picture, in pixels; (0, 0), which means unknown, unless both are
    numbers from 1 to MAX_SIDE."""
    sides = number(height), number(width)
    if all(side is not None and 1 <= side <= MAX_SIDE for side in sides):
        return int(sides[0] or 0), int(sides[1] or 0)
    return 0, 0


def numbers(value: Any, count: int) -> list[float] | None:
    """A list of `count` numbers, each or all of it perhaps written as text ("[4, 4, 22, 16]"); None
    for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list) or len(value) != count:
        return None
    found = [n for one in value if (n := number(one)) is not None]
    return found if len(found) == count else None
