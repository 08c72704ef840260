"""Reads pickles of numbers without running any code in them.

A pickle names functions that loading calls. Here each name is either one of the few that pickled
numpy arrays use, replaced by a plain class of this file, or an error.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError
from xfer.files import bytes_of


class _Dtype:
    """Stands in for numpy.dtype: only numbers and booleans; "O" for a list of objects."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = str(code)
        self.order: Literal["<", ">"] = "<"
        if self.code[:1] not in ("f", "i", "u", "b", "O"):
            raise pickle.UnpicklingError(f"an array of type {self.code[:20]!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def numpy(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)


class _Array:
    """Stands in for numpy.ndarray; `value` is the loaded array."""

    value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, column_first, content = state
        if dtype.code.startswith("O"):
            self.value = [plain(item) for item in content]
            return
        content = content.encode("latin1") if isinstance(content, str) else content
        flat = np.frombuffer(content, dtype.numpy())
        self.value = flat.reshape(shape, order="F" if column_first else "C")


def _empty_array(*_: Any) -> _Array:
    return _Array()


def _from_buffer(content: Any, dtype: _Dtype, shape: Any, order: str) -> _Array:
    array = _Array()
    array.value = np.frombuffer(content, dtype.numpy()).reshape(
        shape, order="F" if order == "F" else "C"
    )
    return array


def _scalar(dtype: _Dtype, content: Any = b"") -> Any:
    content = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(content, dtype.numpy())[0].item()


def _encode(text: Any, how: Any = "latin1") -> bytes:
    """Stands in for the function by which Python 3 pickles bytes for Python 2."""
    if not isinstance(text, str) or how != "latin1":
        raise pickle.UnpicklingError("a text not encoded in latin1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stands in for the function by which Python 3 pickles b"" for Python 2."""
    return b""


_ARRAY_NAMES = {
    ("multiarray", "_reconstruct"): _empty_array,
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): _from_buffer,
}


class _NumbersOnly(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage]
    """Python's own machine: the one in C makes as much memory as a damaged index asks for."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # pyright: ignore

    def load_bytearray8(self) -> None:
        """As Python's, which makes room for as many bytes as are asked for before it reads them."""
        count = int.from_bytes(self.read(8), "little")  # pyright: ignore
        self.append(bytearray(self.read(count)))  # pyright: ignore

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def find_class(self, module: str, name: str) -> Any:
        head, _, tail = module.rpartition(".")
        if head in ("numpy.core", "numpy._core") and (tail, name) in _ARRAY_NAMES:
            return _ARRAY_NAMES[tail, name]
        allowed = {
            ("numpy", "dtype"): _Dtype,
            ("numpy", "ndarray"): _Array,
            ("_codecs", "encode"): _encode,
            ("__builtin__", "bytes"): _no_bytes,
            ("collections", "OrderedDict"): dict,
        }
        if (module, name) in allowed:
            return allowed[module, name]
        raise pickle.UnpicklingError(f"{module}.{name}")


def read_numbers(path: Path) -> Any:
    """The content of a pickle of numbers, texts, lists, dicts and numpy arrays; arrays are still
    wrapped, `plain` unwraps them.

    Raises: DataError for a file that is not a pickle, is truncated, or names anything else.
    """
    try:
        return _NumbersOnly(io.BytesIO(bytes_of(path)), encoding="latin1").load()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: refused, it holds more than numbers: {error}",
            "a pickle may run code; only numpy arrays, lists, dicts and texts are accepted",
        ) from None
    # a pickle is a small program: a broken one can raise any exception
    except Exception as error:
        raise DataError(f"{path}: not a pickle, or truncated ({type(error).__name__})") from None


def plain(value: Any) -> Any | NDArray:
    """Unwraps an array; returns anything else as it is."""
    return value.value if isinstance(value, _Array) else value
