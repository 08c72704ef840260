"""Files that hold tensors: written atomically with their checksums, and read without running code.

best.safetensors | see `xfer.backbones.safe_file`
last/state.pt    | a zip archive of torch.save's; its comment is "sha256:..." of all bytes before
                 | the comment. Without a comment, as earlier versions wrote it, the archive's own
                 | CRC-32 of each member is compared, which torch.load does not do.
"""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from xfer.backbones import safe_file
from xfer.backbones.stored import bad_numbers
from xfer.errors import DataError, whole
from xfer.files import SUM, check_schema, open_regular, replacing, sum_in

SCHEMA = 1
# the last record of a zip archive: its first bytes, and its length without the comment
_END, _END_BYTES = b"PK\x05\x06", 22
_COMMENT_BYTES = len(SUM) + 1 + 64
_BLOCK = 1 << 20


def save_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes tensors as safetensors, atomically. Raises DataError for sparse ones."""
    with replacing(path) as temporary:
        try:
            safe_file.write(temporary, weights, metadata)
        except DataError as error:
            raise DataError(f"{path}: {error.message}", error.hint) from None


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file. Raises DataError if it is absent or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        safe_file.check(path)
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: damaged ({error})") from error


def fill(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copies a run's own weights into the module that its model.json describes.

    Args: path: their file, for messages.

    Raises: DataError if they are not the module's, and for numbers that it can't compute with.
    """
    own = module.state_dict()
    for name, tensor in weights.items():
        if name in own:
            check_numbers(path, name, tensor, own[name])
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"{path} does not fit {path.with_name('model.json')}",
            str(error).splitlines()[-1].strip(),
        ) from error


def check_numbers(path: Path, name: str, tensor: Tensor, own: Tensor | None = None) -> None:
    """Raises DataError, naming the file and the tensor, for numbers that no net computes with.

    Args: own: what the net has in its place when it is made: a mask may be infinite by design.
    """
    odd = ""
    if tensor.layout != torch.strided:
        odd = "is a sparse tensor"
    elif tensor.is_quantized:
        odd = "is a quantised tensor"
    elif tensor.is_complex() and (own is None or not own.is_complex()):
        odd = "has complex numbers"
    elif own is not None and tensor.is_floating_point() != own.is_floating_point():
        odd = f"is made of {tensor.dtype}, the net's of {own.dtype}".replace("torch.", "")
    elif bad_numbers(tensor) and (own is None or not bad_numbers(own)):
        odd = "has numbers that are NaN or infinite"
    if odd:
        raise DataError(
            f"{path}: {name} {odd}", "the training that wrote it went wrong, or it was changed"
        )


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors, numbers, texts, lists and dicts for `load_state`, atomically."""
    with replacing(path) as temporary:
        try:
            torch.save({"schema": SCHEMA, **state}, temporary)
        except RuntimeError as error:  # torch's zip writer reports failed writes this way
            raise DataError(
                f"{path}: could not be written ({str(error).splitlines()[0]})",
                "is the disk full? what was already saved is intact",
            ) from error
        _add_sum(temporary)


def load_state(path: Path, own: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """Reads what `save_state` wrote; accepts only plain data, so it can't run code.

    Args: own: the task's tensors as it is made, see `check_numbers`.

    Raises DataError if the file is absent or damaged, or holds numbers that training can't go on
    with.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    _check_sum(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: damaged ({reason})") from error
    if not isinstance(state, dict):
        raise DataError(f"{path}: damaged (it holds a {type(state).__name__})")
    state = cast("dict[str, Any]", state)
    check_schema(path, state.pop("schema", 1), SCHEMA)
    for name, tensor in _tensors(state):
        like = (own or {}).get(name.removeprefix("task.").removeprefix("ema.module."))
        if name.startswith("optimizer.") and bad_numbers(tensor) and not tensor.isnan().any():
            continue  # a square that was too large only stops the parameter for a while
        check_numbers(path, name, tensor, like)
    return state


def _add_sum(path: Path) -> None:
    """Appends the checksum of a zip archive as its comment."""
    with path.open("rb+") as file:
        # the last two bytes are the length of the comment
        file.seek(-2, 2)
        file.write(_COMMENT_BYTES.to_bytes(2, "little"))
        file.seek(0)
        digest = _digest(file.readinto, math.inf)
        file.seek(0, 2)
        file.write(f"{SUM}:{digest}".encode())


def _check_sum(path: Path) -> None:
    """Raises DataError if a bit of a state's file has turned."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_BYTES))
        if file.read(4) == _END:
            _check_members(path)
            return
        file.seek(max(0, size - _COMMENT_BYTES))
        text = file.read().decode("latin-1")
        wanted = sum_in(path, {SUM: text})
        file.seek(0)
        if _digest(file.readinto, size - _COMMENT_BYTES) != wanted:
            raise DataError(f"{path}: damaged: its sha256 is not the one at its end")


def _digest(read: Callable[[memoryview], int], count: float) -> str:
    """sha256 of the next `count` bytes of a file, hexadecimal."""
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    while count > 0 and (got := read(block[: int(min(count, _BLOCK))])):
        digest.update(block[:got])
        count -= got
    return digest.hexdigest()


def _check_members(path: Path) -> None:
    with whole(path), zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
    if bad is not None:
        raise DataError(f"{path}: damaged: {bad} has another checksum")


def _tensors(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """(path of keys, tensor) of all tensors in dicts and lists, and of the losses to be logged."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, float) and name.startswith("pending.losses."):
        yield name, torch.tensor(state)
    elif isinstance(state, Mapping):
        for key, value in cast("Mapping[Any, Any]", state).items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(state, (list, tuple)):
        for number, value in enumerate(cast("list[Any]", state)):
            yield from _tensors(value, f"{name}.{number}")
