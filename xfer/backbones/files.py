"""Reads weight files without running anything in them: name -> tensor."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xfer.backbones.caffemodel import read_caffemodel
from xfer.errors import DataError

SUFFIXES = (".pth", ".pt", ".safetensors", ".npz", ".caffemodel")


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a weight file, on the CPU.

    Args:
        path: .pth, .pt (only tensors and plain containers), .safetensors, .npz or .caffemodel.

    Raises: DataError, naming the file, if it is missing, empty, truncated, of an unknown format,
        without tensors, or would run code when loaded.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a weight file", "a finished run: run:DIR")
    if not path.is_file():
        raise DataError(f"no weight file {path}", "weights: imagenet, none, a file, or run:DIR")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)", "download or copy the file again")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown weight file format", f"known: {' '.join(SUFFIXES)}")
    if suffix == ".caffemodel":
        tensors = {name: torch.from_numpy(a) for name, a in read_caffemodel(path).items()}
    elif suffix == ".npz":
        tensors = _read_npz(path)
    elif suffix == ".safetensors":
        tensors = _read_safetensors(path)
    else:
        tensors = _read_torch(path)
    if not tensors:
        raise DataError(f"{path} holds no tensors")
    return tensors


def digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _broken(path: Path, error: BaseException) -> DataError:
    why = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return DataError(f"{path}: truncated or not a weight file ({why})", "download or copy it again")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise _broken(path, error) from None


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {
                name: torch.from_numpy(arrays[name])
                for name in arrays.files
                if arrays[name].dtype.kind in "fiub"
            }
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise _broken(path, error) from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    import pickle

    try:
        with path.open("rb") as file:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "unsupported" in str(error).lower():
            raise DataError(
                f"{path} holds more than tensors; loading it could run code, so it is refused",
                "save the net's state_dict() with torch.save, or as .safetensors",
            ) from None
        raise _broken(path, error) from None
    except Exception as error:  # torch.load passes on its parsers' exceptions, of a dozen types
        raise _broken(path, error) from None
    return _flatten(loaded)


def _flatten(loaded: Any) -> dict[str, Tensor]:
    """The state dict in a saved object: bare, or wrapped as trainers do."""
    if not isinstance(loaded, Mapping):
        return {}
    for key in ("state_dict", "model", "model_state_dict", "state_dict_ema", "net", "params"):
        if isinstance(loaded.get(key), Mapping):
            return _flatten(loaded[key])
    return {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}
