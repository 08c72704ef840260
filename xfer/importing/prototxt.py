"""Reads .prototxt files: protobuf's text format, as far as Caffe's nets use it.

    layer {
      name: "conv1"  type: "Convolution"  bottom: "data"  top: "conv1"
      convolution_param { num_output: 96 kernel_size: 11 stride: 4 }
    }

Field names and defaults: BVLC/caffe, src/caffe/proto/caffe.proto. Old files say `layers` and type
CONVOLUTION. Nothing in a file is run: Python layers are only named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfer.errors import DataError, reader
from xfer.files import DEEPEST, NOTE, text_of

Message = dict[str, list[Any]]

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*                                # blanks, comments
    |(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?f?(?![\w.]))
    |(?P<word>[A-Za-z_][\w.]*)
    |(?P<mark>[{}<>:,;\[\]])""",
    re.VERBOSE,
)
_CLOSING = {"{": "}", "<": ">"}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a net.

    name    | as in the file
    kind    | its type in small letters: convolution, innerproduct, relu, pooling, lrn, ...
    bottoms | names of the blobs that it reads; tops | of those that it writes
    fields  | everything that the file says of it
    """

    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    fields: Message = field(default_factory=dict)

    def has(self, group: str, key: str) -> bool:
        return any(key in message for message in self._groups(group))

    def value(self, group: str, key: str, default: Any) -> Any:
        """A setting such as convolution_param's num_output. Raises DataError if it is given twice
        with different values."""
        values = [v for message in self._groups(group) for v in message.get(key, ())]
        if any(v != values[0] for v in values):
            raise DataError(f"layer {self.name}: {key} is {values}, one value for each axis")
        return values[0] if values else default

    def count(self, group: str, key: str, default: int) -> int:
        """A whole number, by its name or by its names for rows and columns (kernel_h, kernel_w)."""
        stem = key.removesuffix("_size")
        names = [name for name in (key, f"{stem}_h", f"{stem}_w") if self.has(group, name)]
        values = [self.value(group, name, default) for name in names] or [default]
        if any(type(v) is not int or v < 0 or v != values[0] for v in values):
            raise DataError(f"layer {self.name}: {key} is {values}, not one whole number")
        return values[0]

    def number(self, group: str, key: str, default: float) -> float:
        value = self.value(group, key, default)
        if not isinstance(value, int | float):
            raise DataError(f"layer {self.name}: {key} is {value!r}, not a number")
        return float(value)

    def _groups(self, group: str) -> list[Message]:
        return [m for m in self.fields.get(group, ()) if isinstance(m, dict)]


@reader
def read_prototxt(file: Path) -> tuple[Layer, ...]:
    """The layers of a net in the file's order, without those that are for training only.

    Raises: DataError, naming the file, if it is no prototxt of a net with layers.
    """
    text = text_of(file, NOTE, errors="replace")
    try:
        net = _message(_tokens(text), "", 0)
    except DataError as error:
        raise DataError(f"{file}: not a readable prototxt ({error.message})") from None
    layers = [
        _layer(message)
        for key in ("layer", "layers")
        for message in net.get(key, ())
        if isinstance(message, dict)
    ]
    if not layers:
        raise DataError(f"{file}: no layers in this prototxt", "give the net's deploy.prototxt")
    return tuple(layer for layer in layers if not _training_only(layer))


def _layer(message: Message) -> Layer:
    def texts(key: str) -> tuple[str, ...]:
        return tuple(str(value) for value in message.get(key, ()))

    name, kind = (next(iter(texts(key)), "") for key in ("name", "type"))
    return Layer(name, kind.replace("_", "").lower(), texts("bottom"), texts("top"), message)


def _training_only(layer: Layer) -> bool:
    rules: Sequence[Any] = layer.fields.get("include", ())
    phases = [p for rule in rules if isinstance(rule, dict) for p in rule.get("phase", ())]
    return bool(phases) and all(phase in ("TRAIN", 0) for phase in phases)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of each token: text, number, word or mark. Raises DataError elsewhere."""
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            line = text.count("\n", 0, at) + 1
            raise DataError(f"line {line}: {text[at : at + 20].splitlines()[0]!r} is unexpected")
        at = found.end()
        if found.lastgroup is not None:
            yield found.lastgroup, found.group()


def _message(tokens: Iterator[tuple[str, str]], closing: str, depth: int) -> Message:
    """The fields up to a closing mark, each with all its values in order."""
    if depth > DEEPEST:
        raise DataError("nested too deeply")
    message: Message = {}
    for kind, name in tokens:
        if kind == "mark" and name == closing:
            return message
        if kind == "mark" and name in ",;":
            continue
        if kind != "word":
            raise DataError(f"{name!r} where a field's name is due")
        kind, text = _next(tokens)
        if (kind, text) == ("mark", ":"):
            kind, text = _next(tokens)
        values = message.setdefault(name, [])
        if (kind, text) == ("mark", "["):
            values += _list(tokens, depth)
        else:
            values.append(_value(kind, text, tokens, depth))
    if closing:
        raise DataError(f"cut off: {closing!r} is missing")
    return message


def _next(tokens: Iterator[tuple[str, str]]) -> tuple[str, str]:
    token = next(tokens, None)
    if token is None:
        raise DataError("cut off after a field's name")
    return token


def _list(tokens: Iterator[tuple[str, str]], depth: int) -> list[Any]:
    values: list[Any] = []
    while True:
        kind, text = _next(tokens)
        if (kind, text) == ("mark", "]"):
            return values
        if (kind, text) != ("mark", ","):
            values.append(_value(kind, text, tokens, depth))


def _value(kind: str, text: str, tokens: Iterator[tuple[str, str]], depth: int) -> Any:
    if kind == "number":
        digits = text.rstrip("f")
        whole = digits.lstrip("+-").isdecimal()
        return int(digits) if whole and len(digits) < 20 else float(digits)
    if kind == "text":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if kind == "word":
        return {"true": True, "false": False}.get(text, text)
    if text in _CLOSING:
        return _message(tokens, _CLOSING[text], depth + 1)
    raise DataError(f"{text!r} where a value is due")
