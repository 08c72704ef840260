"""safetensors files: the same bytes for the same tensors, and the checksum in their header.

8 bytes       | the length of the header
header        | JSON: name -> {"dtype", "shape", "data_offsets"}; "__metadata__": texts, among them
              | "sha256": "sha256:..." of the rest of the header and of all numbers
numbers       | the tensors' bytes end to end, the widest types first, then by name

Format: https://github.com/huggingface/safetensors, whose own writer puts metadata in random order.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfer.backbones.stored import SAFE_NUMBERS
from xfer.errors import DataError, whole
from xfer.files import SUM, open_regular, sum_in

_META = "__metadata__"
# bytes read at a time: few, so that a thread which compares seldom waits for the one that makes the
# net; read and not mapped, so that a disk that fails is an error and no signal
_BLOCK = 8 << 20
_MOST = 100_000_000  # bytes of a header, as the safetensors library reads
# types in the order in which the library writes them
_ORDER = ("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E4M3",
          "F8_E5M2", "I8", "U8", "BOOL")  # fmt: skip
_NAMES = {dtype: name for name, dtype in SAFE_NUMBERS.items()}


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes tensors on any device with metadata, and their checksum.

    Raises: DataError, without the file's name, for numbers that the format does not have, such as
        sparse ones.
    """
    plain: list[tuple[str, str, Tensor]] = []
    for name, tensor in tensors.items():
        kind = _NAMES.get(tensor.dtype)
        if kind is None or tensor.layout != torch.strided:
            what = str(tensor.dtype if kind is None else tensor.layout).removeprefix("torch.")
            raise DataError(f"{name} is made of {what}, which safetensors does not have")
        plain.append((name, kind, tensor.detach().cpu().contiguous()))
    plain.sort(key=lambda one: (_ORDER.index(one[1]), one[0]))
    parts = [tensor.reshape(-1).view(torch.uint8).numpy() for _, _, tensor in plain]
    about: dict[str, Any] = {}
    at = 0
    for (name, kind, tensor), part in zip(plain, parts, strict=True):
        place = [at, at + len(part)]
        about[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": place}
        at += len(part)
    digest = _digest(about, metadata)
    for part in parts:
        digest.update(part.data)
    own = dict(sorted({**metadata, SUM: f"{SUM}:{digest.hexdigest()}"}.items()))
    header = json.dumps({_META: own, **about}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for part in parts:
            file.write(part.data)


def check(path: Path) -> None:
    """Compares a file with the checksum in its header, if it has one.

    Raises: DataError if they differ, or if there is no header.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= _MOST else b""
        if len(text) < length or not text:
            raise DataError(f"{path}: damaged, or cut off in its header")
        with whole(path, "damaged"):
            about = json.loads(text)
            metadata = about.pop(_META, None) or {}
            wanted = sum_in(path, metadata)
        if wanted is None:
            return
        metadata.pop(SUM)
        with whole(path, "damaged"):
            digest = _digest(about, metadata)
        block = bytearray(min(_BLOCK, os.fstat(file.fileno()).st_size))
        while count := file.readinto(block):
            digest.update(memoryview(block)[:count])
    if digest.hexdigest() != wanted:
        raise DataError(
            f"{path}: damaged: its sha256 is not the one in its header",
            "copy or download it again; if it was changed on purpose, save it without the "
            "metadata's sha256",
        )


def _digest(about: Mapping[str, Any], metadata: Mapping[str, str]) -> Any:
    """sha256 of a header, in whatever order it is written; the numbers follow."""
    text = json.dumps([dict(metadata), dict(about)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode())
