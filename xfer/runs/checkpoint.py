"""Files that hold tensors: written atomically, and read without running code."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfer.errors import DataError
from xfer.files import replacing


def save_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes tensors as safetensors, atomically."""
    from safetensors.torch import save_file

    plain = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
    _replace(path, lambda temporary: save_file(plain, str(temporary), dict(metadata)))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file. Raises DataError if it is absent or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: damaged ({error})") from error


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors, numbers, texts, lists and dicts for `load_state`, atomically."""
    _replace(path, lambda temporary: torch.save(dict(state), temporary))


def load_state(path: Path) -> dict[str, Any]:
    """Reads what `save_state` wrote; accepts only plain data, so it can't run code.

    Raises DataError if the file is absent or damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: damaged ({reason})") from error


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    with replacing(path) as temporary:
        try:
            write(temporary)
        except RuntimeError as error:  # torch's zip writer reports failed writes this way
            raise DataError(
                f"{path}: could not be written ({str(error).splitlines()[0]})",
                "is the disk full? what was already saved is intact",
            ) from error
        except Exception as error:
            if "No space left" in str(error):  # safetensors wraps the OS error in its own
                raise OSError(errno.ENOSPC, "no space left") from error
            raise
