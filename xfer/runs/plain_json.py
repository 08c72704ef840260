"""Values as JSON, whatever numbers they hold, and long lists of them written as they come."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# what JSON leaves as it is and a terminal may obey
_ESCAPED = {n: f"\\u{n:04x}" for n in range(127, 160)}


def json_text(value: Any) -> str:
    """The value as indented JSON; non-finite numbers become null."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False).translate(_ESCAPED)


def plain(value: Any) -> Any:
    """The value in JSON types: numpy and torch scalars become numbers, arrays become lists."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


class JsonList:
    """Writes a JSON list, or an object with one list in it, item by item, as `json_text` would.

    Args: write: gets the text, piece by piece; key: of the list within an object; empty: alone.
    """

    def __init__(self, write: Callable[[str], Any], key: str = "") -> None:
        self._write, self._key = write, key
        self._indent = " " if key else ""
        self._count = 0

    def add(self, items: Iterable[Any]) -> None:
        for item in items:
            text = json_text(item).replace("\n", f"\n {self._indent}")
            self._write(("," if self._count else self._head()) + f"\n {self._indent}{text}")
            self._count += 1

    def end(self) -> None:
        """Closes the list; empty if there was no item."""
        last = f"\n{self._indent}]" if self._count else f"{self._head()}]"
        self._write(last + ("\n}\n" if self._key else "\n"))

    def _head(self) -> str:
        return f"{{\n {json.dumps(self._key)}: [" if self._key else "["
