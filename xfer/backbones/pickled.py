"""Reads pickles without running anything in them.

`pickle` calls what a file names; this machine only notes it. Dicts, lists, tuples and plain values
come out as they are, a call of anything else as a `Made` that says what would have been called,
and with what. No name in a file is looked up, so no pickle can do more than take time.
"""

from __future__ import annotations

import pickletools
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from xfer.errors import DataError

# containers that are as good as a dict
_DICTS = {
    ("collections", "OrderedDict"), ("collections", "defaultdict"), ("collections", "Counter"),
    ("builtins", "dict"), ("__builtin__", "dict"),
}  # fmt: skip
_LISTS = {"list", "set", "frozenset", "tuple"}
_MAX_COPIED = 1_000_000
_PLAIN = (str, bytes, int, float, type(None))


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that a pickle names: torch._utils, _rebuild_tensor_v2."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class Saved:
    """What the pickle keeps outside itself, by its own identifier."""

    key: Any


@dataclass(slots=True, eq=False)
class Made:
    """What a pickle would have made by a call.

    what, args | what would have been called, usually a Global
    state      | what would have become its attributes
    items      | its entries, if it is a kind of dict
    parts      | its elements, if it is a kind of list
    """

    what: Any
    args: Any
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict[Any, Any])
    parts: list[Any] = field(default_factory=list[Any])


def read_pickle(file: IO[bytes]) -> Any:
    """The next pickle of a binary file, whose position is then after it.

    Raises: DataError, without the file's name, for bytes that are no pickle, or cut off.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a text with a stray backslash
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "STOP":
                    return machine.pop()
                machine.do(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, struct.error, OverflowError) as error:
        why = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        cut = any(word in why for word in ("exhausted", "not enough", "but only", "no newline"))
        raise DataError(f"cut off: {why}" if cut else f"not a pickle: {why}") from None
    raise DataError("cut off: the pickle has no end")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def pop(self) -> Any:
        if self.marks and self.marks[-1] >= len(self.stack):
            raise ValueError("it takes from below a mark")
        return self.stack.pop()

    def above_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def do(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name in _ACTIONS:
            _ACTIONS[name](self)
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            self.stack.append(Global(module, attribute))
        elif name == "INST":
            module, _, attribute = argument.partition(" ")
            self.stack.append(self.call(Global(module, attribute), tuple(self.above_mark())))
        elif name == "PERSID":
            self.stack.append(Saved(argument))
        elif name in ("EXT1", "EXT2", "EXT4"):
            self.stack.append(Global("copyreg", f"extension {argument}"))
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"{name} is not read")

    def pop_mark(self) -> None:
        self.above_mark()

    def call(self, what: Any, arguments: Any) -> Any:
        """Notes a call; the plainest containers are made."""
        first = arguments[0] if isinstance(arguments, tuple) and arguments else None
        if not isinstance(what, Global):
            return Made(what, arguments)
        if (what.module, what.name) in _DICTS:
            made: dict[Any, Any] = {}
            pairs = first if isinstance(first, list | tuple) else ()
            self.copied += len(pairs)
            if self.copied > _MAX_COPIED:
                raise ValueError("it copies the same pairs without end")
            for pair in pairs:
                if isinstance(pair, list | tuple) and len(pair) == 2:
                    _set(made, pair)
            return made
        if what == Global("torch", "Size") or (
            what.module in ("builtins", "__builtin__") and what.name in _LISTS
        ):
            return first if isinstance(first, list | tuple) else []
        if what.module in ("builtins", "__builtin__") and what.name in ("bytes", "bytearray"):
            return first if isinstance(first, bytes | bytearray) else b""
        if what == Global("_codecs", "encode") and isinstance(first, str):
            return first.encode("latin-1")  # bytes, in protocols that have none
        return Made(what, arguments)

    def tuple_of(self, count: int) -> None:
        values = tuple(self.pop() for _ in range(count))[::-1]
        self.stack.append(values)

    def tuple_above(self) -> None:
        self.stack.append(tuple(self.above_mark()))

    def list_above(self) -> None:
        self.stack.append(self.above_mark())

    def dict_above(self) -> None:
        values = self.above_mark()
        made: dict[Any, Any] = {}
        _set(made, values)
        self.stack.append(made)

    def append(self) -> None:
        value = self.pop()
        _extend(self.stack[-1], [value])

    def appends(self) -> None:
        values = self.above_mark()
        _extend(self.stack[-1], values)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        _set(self.stack[-1], [key, value])

    def set_items(self) -> None:
        values = self.above_mark()
        _set(self.stack[-1], values)

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is not text")
        self.stack.append(Global(module, name))

    def reduce(self) -> None:
        arguments, what = self.pop(), self.pop()
        self.stack.append(self.call(what, arguments))

    def new_with_keywords(self) -> None:
        _, arguments, what = self.pop(), self.pop(), self.pop()
        self.stack.append(self.call(what, arguments))

    def obj(self) -> None:
        values = self.above_mark()
        self.stack.append(self.call(values[0], tuple(values[1:])))

    def build(self) -> None:
        state = self.pop()
        if isinstance(self.stack[-1], Made):
            self.stack[-1].state = state

    def saved(self) -> None:
        self.stack.append(Saved(self.pop()))


def _set(target: Any, pairs: list[Any] | tuple[Any, ...]) -> None:
    """target[key] = value for each pair in a row; keys that are not plain are left out."""
    entries = target.items if isinstance(target, Made) else target
    if not isinstance(entries, dict) or len(pairs) % 2:
        raise ValueError("entries for what is not a dict")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if isinstance(key, _PLAIN):  # hashing nested tuples can take forever
            entries[key] = value


def _extend(target: Any, values: list[Any]) -> None:
    elements = target.parts if isinstance(target, Made) else target
    if not isinstance(elements, list):
        raise ValueError("elements for what is not a list")
    elements.extend(values)


_VALUES = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": list,
}  # fmt: skip
_ACTIONS: dict[str, Callable[[_Machine], Any]] = {
    "POP": lambda m: m.pop_mark() if m.marks and m.marks[-1] == len(m.stack) else m.pop(),
    "POP_MARK": _Machine.pop_mark,
    "DUP": lambda m: m.stack.append(m.stack[-1]),
    "TUPLE1": lambda m: m.tuple_of(1),
    "TUPLE2": lambda m: m.tuple_of(2),
    "TUPLE3": lambda m: m.tuple_of(3),
    "TUPLE": _Machine.tuple_above,
    "LIST": _Machine.list_above,
    "FROZENSET": _Machine.list_above,
    "DICT": _Machine.dict_above,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_with_keywords,
    "OBJ": _Machine.obj,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.saved,
}
