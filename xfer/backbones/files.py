"""Reads weight files without running anything in them; what a file is, its bytes say."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfer.backbones.caffemodel import looks_like_caffe, read_caffemodel
from xfer.backbones.parts import Parts, split, without_net
from xfer.backbones.safe_file import check
from xfer.backbones.stored import SAFE_NUMBERS, Stored, bad_numbers, of_oddity, of_tensor
from xfer.backbones.torch_file import read_torch
from xfer.backbones.zipped import open_zip, read_arrays
from xfer.errors import DataError, listed, reader
from xfer.files import NotAFile, no_file

KNOWN = "known: PyTorch's (.pth .pt .ckpt .bin), .safetensors, .npz, .caffemodel"
AGAIN = "download or copy the file again"
_ENDINGS = (".pth", ".pt", ".ckpt", ".bin", ".tar", ".safetensors", ".npz", ".caffemodel")
# a file is not read in full if it would unpack to more than _MAX_BYTES and to more than _MAX_TIMES
# its own size
_MAX_BYTES, _MAX_TIMES = 1 << 28, 64
# first bytes of what is met under the names of weight files -> what it is, what to do
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, or Caffe's .h5)",
     "save its arrays with numpy.savez under the net's names, as (out, in, h, w)"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the weights", "git lfs pull"),
    (b"\x93NUMPY", "one array of numpy's", "save all of them by name with numpy.savez"),
    (b"MATLAB", "a MATLAB file", "save its arrays with numpy.savez under the net's names"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (b"BZh", "compressed with bzip2", "unpack it first"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"GGUF", "a GGUF file", KNOWN),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WeightFile:
    """What a weight file holds; numbers are read when they are needed.

    parts   | its tensors
    kind    | what wrote it: torch, TorchScript, safetensors, npz, caffe
    ordered | whether its tensors are in the order in which the net's layers were made
    """

    path: Path
    parts: Parts = field(repr=False)
    kind: str
    ordered: bool = True


@reader
def open_weights(path: Path) -> WeightFile:
    """Opens a weight file of any name; its bytes decide how it is read.

    Raises: DataError, naming the file, if it is missing, empty, cut off, of an unknown format or
        without tensors.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a weight file", _in_folder(path))
    if what := no_file(path):
        raise NotAFile(path, what)
    if not path.is_file():
        raise DataError(f"no weight file {path}", "weights: imagenet, none, a file, or run:DIR")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)", AGAIN)
    with path.open("rb") as file:
        start = file.read(512)
    try:
        found = _open(path, start)
    except DataError as error:
        if error.hint is not None:
            raise
        raise DataError(f"{path}: {error.message}", AGAIN) from None
    except (RecursionError, MemoryError):
        raise DataError(f"{path}: its contents are nested or repeated beyond reading") from None
    if not found.parts.tensors:
        raise DataError(f"{path} holds no tensors", _inside(path, found.kind))
    return found


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a weight file, on the CPU, under their names in the file.

    Of a checkpoint of several parts, those of the net; of several nets of the same names, the
    averaged one or the first (`xfer.backbones.parts.without_net`).

    Raises: DataError as `open_weights`, and for numbers that are NaN or infinite.
    """
    tensors, _, _ = without_net(open_weights(path).parts)
    return read_all(path, tensors)


def read_all(path: Path, tensors: dict[str, Stored]) -> dict[str, Tensor]:
    """The numbers of tensors of a file.

    Raises: DataError, naming the file, if they are cut off, NaN or infinite, or if a small file
        says that it holds very many.
    """
    total = sum(tensor.bytes for tensor in tensors.values())
    if total > _MAX_BYTES and total > _MAX_TIMES * path.stat().st_size:
        raise DataError(
            f"{path}: {path.stat().st_size:,} bytes that repeat themselves up to {total:,}",
            "name the net with --net: only what it needs is read",
        )
    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.odd:
            made[name] = read(str(path), name, tensor)
    if not made:
        odd = next(iter(tensors.values())).odd
        raise DataError(f"{path} holds no tensors that can be read: {odd}")
    return made


def read(source: str, name: str, tensor: Stored) -> Tensor:
    """The numbers of one tensor. Raises DataError, naming the file and the tensor, if they can't be
    read, or are NaN or infinite."""
    try:
        numbers = tensor.read()
    except DataError as error:
        raise DataError(f"{source}: {name}: {error.message}", error.hint or AGAIN) from None
    except (RuntimeError, OSError, MemoryError) as error:
        raise DataError(f"{source}: {name} can't be read ({str(error)[:80]})", AGAIN) from None
    check_finite(source, name, numbers)
    return numbers


def check_finite(source: str, name: str, numbers: Tensor) -> None:
    """Raises DataError for a tensor with numbers that are NaN or infinite."""
    if bad_numbers(numbers):
        raise DataError(
            f"{source}: {name} has numbers that are NaN or infinite",
            "the training that wrote it went wrong: use an earlier file",
        )


def digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: Path, start: bytes) -> WeightFile:
    """Reads what the first bytes say that the file is."""

    def opened() -> Any:
        return path.open("rb")

    if start[:4] == b"PK\x03\x04":
        return _open_zip(path, opened)
    if len(start) > 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 40:
        return WeightFile(path, _read_safetensors(path), "safetensors", ordered=False)
    if start[:1] == b"\x80" and start[1:2] <= b"\x05":
        return _open_torch(path, opened, "torch")
    for magic, what, hint in _OTHERS:
        if start.startswith(magic):
            raise DataError(f"{path} is {what}", hint)
    if start[257:262] == b"ustar":
        raise DataError(f"{path} is a tar archive", "unpack it first")
    text = _text(start)
    if text.lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
        raise DataError(f"{path} is a web page, not weights", "download the file itself")
    if start[:1] == b"\x08" and (b"pytorch" in start or b"onnx" in start):
        raise DataError(f"{path} is an ONNX file", "save the net's state_dict() with torch.save")
    if (looks_like_caffe(start) and not text) or path.suffix.lower() == ".caffemodel":
        parts = Parts({"": {n: of_tensor(torch.from_numpy(a)) for n, a in
                            read_caffemodel(path).items()}})  # fmt: skip
        return WeightFile(path, parts, "caffe")
    if start[:1] in b"(c}]d" and b"\n" in start and not text:
        return _open_torch(path, opened, "torch")  # pickles of the first protocols
    what = "text" if text else "no known first bytes"
    raise DataError(f"{path}: unknown weight file format ({what})", KNOWN)


def _text(start: bytes) -> str:
    """The beginning of a file as text; empty if it isn't."""
    try:
        text = start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:
            return ""
        text = start[: error.start].decode("utf-8-sig")
    return text if all(c.isprintable() or c in "\r\n\t" for c in text) else ""


def _open_torch(path: Path, opened: Callable[[], Any], kind: str) -> WeightFile:
    source = read_torch(opened)
    return WeightFile(path, split(source.root, source.tensor), kind)


def _open_zip(path: Path, opened: Callable[[], Any]) -> WeightFile:
    with open_zip(opened) as archive:
        names = archive.namelist()
    last = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in last:
        scripted = "constants.pkl" in last or any("/code/" in f"/{name}" for name in names)
        return _open_torch(path, opened, "TorchScript" if scripted else "torch")
    if any(name.endswith(".npy") for name in names):
        return WeightFile(path, Parts({"": read_arrays(opened)}), "npz")
    if "model.weights.h5" in last:
        raise DataError(f"{path} is a Keras file", _OTHERS[0][2])
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    raise DataError(f"{path} is a zip archive of {shown or 'nothing'}, not weights",
                    "unpack it, and name the weight file in it")  # fmt: skip


def _in_folder(path: Path) -> str:
    """What to name instead of a folder: the run that it is, or the weight files in it."""
    if (path / "best.safetensors").is_file():
        return f"a run's weights: {shlex.quote(f'run:{path}')}"
    inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in _ENDINGS)
    return f"name a file in it: {listed(inside, 3)}" if inside else "a finished run: run:DIR"


def _inside(path: Path, kind: str) -> str:
    if kind == "TorchScript":
        return (
            "a TorchScript file without parameters, as freezing leaves it; save the net's "
            "state_dict() with torch.save"
        )
    return "save the net's state_dict() with torch.save, or as .safetensors"


def _read_safetensors(path: Path) -> Parts:
    from safetensors import SafetensorError, safe_open

    check(path)
    try:
        file = safe_open(path, "pt")
        tensors = {name: _lazy(file, name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:120]
        with path.open("rb") as opened:
            header = int.from_bytes(opened.read(8), "little")
        cut = 8 + header > path.stat().st_size or "ncomplete" in why
        raise DataError(f"{'cut off' if cut else 'damaged'}: {why}") from None
    return Parts({"": tensors})


def _lazy(file: Any, name: str) -> Stored:
    found = file.get_slice(name)
    dtype = SAFE_NUMBERS.get(found.get_dtype())
    shape = tuple(int(side) for side in found.get_shape())
    if dtype is None:
        return of_oddity(shape, f"numbers of type {found.get_dtype()}")
    return Stored(shape, dtype, lambda: file.get_tensor(name))
