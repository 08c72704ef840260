"""Files that hold tensors: written whole or not at all, and read without running code."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfer.errors import DataError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; what was written there is synced and takes its place.

    When the body raises, or the process dies, the old file is untouched. Who may read the new one
    is up to the umask, as of any file. Raises DataError where the disk is full, OSError where the
    folder can't be written into.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)  # safetensors makes a file of its own, for its owner alone
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"{path}: no space left on the disk", "free some; what was saved before is intact"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes a rename in the folder last through a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes tensors as safetensors, whole or not at all."""
    from safetensors.torch import save_file

    plain = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
    _replace(path, lambda temporary: save_file(plain, str(temporary), dict(metadata)))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file. Raises DataError where it is absent or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: damaged ({error})") from error


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors, numbers, texts, lists and dicts for `load_state`, whole or not at all."""
    _replace(path, lambda temporary: torch.save(dict(state), temporary))


def load_state(path: Path) -> dict[str, Any]:
    """Reads what `save_state` wrote; admits plain data only, so it can't run code.

    Raises DataError where the file is absent or damaged.
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
        except RuntimeError as error:  # how torch's zip writer reports that a write failed
            raise DataError(
                f"{path}: could not be written ({str(error).splitlines()[0]})",
                "is the disk full? what was saved before is intact",
            ) from error
        except Exception as error:
            if "No space left" in str(error):  # safetensors wraps the system's error in its own
                raise OSError(errno.ENOSPC, "no space left") from error
            raise
