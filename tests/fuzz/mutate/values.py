"""JSON and TOML changed as values: other types, depths, sizes, keys."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

from fuzz.mutate.unfit import Unfit


class _Raw:
    """Text that stands in the file as it is, which no value gives."""

    def __init__(self, text: str) -> None:
        self.text = text


_RAW = ("NaN", "-Infinity", "1e999", "9" * 5000, "-" + "9" * 5000, "1" + "0" * 400, "-0", "1e-999",
        "[" * 150 + "]" * 150,
    "[" * 1500 + "]" * 1500, "[" * 100_000, '{"a":' * 1500 + "1" + "}" * 1500, '"\\ud800"',
        '{"a":1,"a":2}', "123456789012345678901234567890")  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e308, 255, 256, 65536, 1 << 31, 1 << 53, 1 << 63,
    1 << 64, -(1 << 63), 10**30, "", " ", "a", "\0", "a\0b", "a" * 300, "a" * 5000, "../../etc",
    "/dev/zero", "/", ".", "\ud800", "é\u202e", "0", "1", "-1", "nan", "os:system", "none",
    [], {}, [[]], [{}], {"": 0}, [None], [0], [""], [1, "a"], {"a": {"b": {}}}, [[1, 2], [3]],
)  # fmt: skip


def json_values(content: bytes, rng: Random) -> bytes:
    """A JSON document with one to three values changed."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unfit from error
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        document = change(document, rng)
    return _dumped(document).encode("utf-8", "surrogatepass")


def json_lines(content: bytes, rng: Random) -> bytes:
    """A file of a JSON document per line, with one of them changed."""
    rows = content.splitlines(keepends=True)
    if not rows:
        raise Unfit
    at = rng.randrange(len(rows))
    rows[at] = json_values(rows[at], rng) + b"\n"
    return b"".join(rows)


def change(document: Any, rng: Random) -> Any:
    """A value with one place in it changed."""
    places = list(_places(document))
    if not places:
        return _other(document, rng)
    holder, key = rng.choice(places)
    draw = rng.random()
    if isinstance(holder, dict):
        if draw < 0.1:
            del holder[key]
        elif draw < 0.2:  # its name changed
            holder[rng.choice(("", "\0", "a" * 300, key + " ", key.upper(), "a"))] = holder.pop(key)
        elif draw < 0.25:  # the same value as another key's
            holder[key] = holder[rng.choice(list(holder))]
        else:
            holder[key] = _other(holder[key], rng)
        return document
    if draw < 0.15:
        del holder[key]
    elif draw < 0.3:
        holder.insert(key, holder[key])
    elif draw < 0.35:
        holder[key:] = [holder[key]] * rng.choice((2, 100, 1000))
    else:
        holder[key] = _other(holder[key], rng)
    return document


def _places(document: Any) -> Any:
    """(list or dict, its key) of every value in a document."""
    stack = [document]
    while stack:
        holder = stack.pop()
        if isinstance(holder, (dict, list)):
            pairs = holder.items() if isinstance(holder, dict) else enumerate(holder)
            for key, value in list(pairs):
                yield holder, key
                stack.append(value)


def _other(value: Any, rng: Random) -> Any:
    """Another value, some of them near."""
    draw = rng.random()
    if draw < 0.12:
        return _Raw(rng.choice(_RAW))
    if draw < 0.25 and isinstance(value, (int, float)) and not isinstance(value, bool):
        return rng.choice((value + 1, value - 1, -value, value * 1000, float(value), str(value)))
    if draw < 0.25 and isinstance(value, str):
        return rng.choice(
            (value + "x", value[:-1], value.upper(), value * 50, value + "\0", [value])
        )
    if draw < 0.35:
        return rng.choice(([value], {"a": value}, [value, value]))
    return rng.choice(_VALUES)


def _dumped(document: Any) -> str:
    """JSON text, with raw pieces."""
    pieces: list[str] = []

    def hold(value: Any) -> Any:
        if isinstance(value, _Raw):
            pieces.append(value.text)
            return f"@raw{len(pieces) - 1}@"
        if isinstance(value, dict):
            return {key: hold(inner) for key, inner in value.items()}
        return [hold(inner) for inner in value] if isinstance(value, list) else value

    text = json.dumps(hold(document), ensure_ascii=False)
    return re.sub(r'"@raw(\d+)@"', lambda found: pieces[int(found[1])], text)


_TOML = (
    "true", "0", "-1", "1e999", "nan", "-inf", "9" * 5000, "[" * 150 + "]" * 150,
    "[" * 1500 + "]" * 1500,
    "[" * 100_000, '""', '"\\u0000"', '"a\\u0000b"', '"os:system"', "[]", "[[]]", "{}",
    "{a = {b = 1}}", "[1, 'a']", "1979-05-27T07:32:00Z", "07:32:00", "1e308",
    "0x7fffffffffffffff", "9223372036854775808", '"' + "a" * 5000 + '"', "'''x'''", "[0.0, 0.0]",
    "[1e308, nan]", "['']", "1", "2", "0.5", "1000000000", '"none"', '"auto"', '"all"',
    '"\\U0010FFFF"', "[-1]",
)  # fmt: skip
_LINES = (
    "a." * 3000 + "a = 1", "x = {" + "a." * 150 + "a = 1}",
    "[" + "a." * 3000 + "a]", "[[optim]]", "[optim]", "x = 1", "[task.a]",
    'extends = "classify/default"', 'extends = "\\u0000"', 'extends = "/dev/zero"',
    'extends = "recipe.toml"', 'extends = "' + "a" * 5000 + '.toml"', '"" = 1', "name = 1",
    'name = "\\u0000"', "[data]", "[a]", "data = 1", "task = []", "# \0", "[backbone]",
)  # fmt: skip


def toml_values(content: bytes, rng: Random) -> bytes:
    """A TOML document with a value replaced, or a line added, repeated or removed."""
    rows = content.decode("utf-8", "replace").splitlines()
    keys = [i for i, row in enumerate(rows) if re.match(r"\s*[\w\"-]+ *=", row)]
    if not keys:
        raise Unfit
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.choice(keys) % max(1, len(rows))
        draw = rng.random()
        if draw < 0.7:
            rows[at] = rows[at].partition("=")[0] + "= " + rng.choice(_TOML)
        elif draw < 0.9:
            rows.insert(rng.randrange(len(rows) + 1), rng.choice(_LINES))
        elif draw < 0.95:
            rows.insert(rng.randrange(len(rows) + 1), rows[at])
        elif len(rows) > 1:
            del rows[at]
    return "\n".join(rows).encode("utf-8", "surrogatepass")
