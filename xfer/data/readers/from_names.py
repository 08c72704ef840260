"""Classes in the names of files: cat.0.jpg, Abyssinian_12.jpg, dog (3).png, 0007_crow.jpg.

The class is the name without its ending and without the number at its end, with what stands between
them (`. _ - ( )` and blanks); if there is none at its end, without the one at its beginning. A
name that is a number alone says no class. Read only where it is asked for, `data.label=from_name`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

FROM_NAME = "from_name"
_END = re.compile(r"[\s._\-(\[]*\d+[)\]]?$")
_START = re.compile(r"^\d+[\s._\-]+")
SHARE = 0.9  # of the pictures whose names must say a class for a hint
MOST = 0.5  # classes per picture


def class_in(name: str) -> str:
    """The class in the name of a file; "" if there is none."""
    stem = PurePath(name).stem
    head = _END.sub("", stem)
    if head == stem:
        head = _START.sub("", stem)
    return head if head != stem and any(c.isalpha() for c in head) else ""


def classes_in(names: Iterable[str]) -> list[str]:
    """The classes that the names of pictures seem to hold; none if they hold no classes: fewer than
    two, as many as pictures, or too many names without one."""
    counts = Counter(map(class_in, names))
    total, without = counts.total(), counts.pop("", 0)
    if len(counts) < 2 or without > total * (1 - SHARE) or len(counts) > total * MOST:
        return []
    return sorted(counts)
