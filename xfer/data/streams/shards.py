"""Shards that are read in sequence: files, addresses (s3://...) and the output of commands (pipe:).

A `pipe:` is a command of the user's, which a shell runs. One that only a file names, a recipe or a
run, is not run, nor is an address of it fetched: see `xfer.plugs.check_coming`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from xfer import plugs
from xfer.errors import DataError, XferError
from xfer.files import at_home, exists, open_file

FORMAT = "webdataset:"
PIPE = "pipe:"
MOST = 1_000_000
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
_ADDRESS = re.compile(r"([a-z][a-z0-9]+)://")
# of fsspec's: those that read what somebody stores
SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "abfss", "hf", "hdfs", "http", "https", "memory")


def is_stream(spec: Any) -> bool:
    """Whether a data spec names shards to be read in sequence: `webdataset:` before a pipe, an
    address, or a path with braces."""
    if not isinstance(spec, str) or not spec.startswith(FORMAT):
        return False
    rest = spec.removeprefix(FORMAT)
    braces = _BRACES.search(rest) is not None and not exists(at_home(rest))
    return rest.startswith(PIPE) or _ADDRESS.match(rest) is not None or braces


def shards_of(spec: str) -> list[str]:
    """The shards of a stream, in order: {000..003} and {a,b} stand for several.

    Raises: XferError for a command or an address that nobody has named, and for an unknown kind of
        address.
    """
    rest = spec.removeprefix(FORMAT)
    plugs.check_coming(spec)
    if (match := _ADDRESS.match(rest)) and match[1] not in SCHEMES:
        raise XferError(f"{rest}: unknown kind of address", f"choose {', '.join(SCHEMES)}")
    choices = [_choices(match) for match in _BRACES.finditer(rest)]
    count = 1
    for one in choices:
        count *= len(one)
    if count > MOST:
        raise XferError(f"{spec}: {count:,} shards, more than {MOST:,}")
    texts = iter(_BRACES.sub("\0", rest).split("\0"))
    pieces = [next(texts)]
    parts: list[list[str]] = [pieces]
    for one, text in zip(choices, texts, strict=True):
        parts += [one, [text]]
    return ["".join(words) for words in itertools.product(*parts)]


def _choices(match: re.Match[str]) -> list[str]:
    if match[3] is not None:
        return match[3].split(",")
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < MOST:
        raise XferError(f"{match[0]}: not a range of shards", "{000..003}")
    width = len(match[1]) if len(match[1]) == len(match[2]) or match[1].startswith("0") else 0
    return [f"{n:0{width}d}" for n in range(first, last + 1)]


def name_of(shard: str) -> str:
    """A short name of a shard, for the ids of its pictures: the stem of its file."""
    words = re.findall(r"[^\s/'\"|=]+\.tar\b", shard)
    return words[-1].removesuffix(".tar") if words else re.sub(r"[^\w.-]+", "-", shard)[-60:]


@contextlib.contextmanager
def opened(shard: str) -> Iterator[BinaryIO]:
    """Context with a shard's bytes, to be read in sequence.

    Raises: DataError for a file that is not there, and for a command that fails.
    """
    if shard.startswith(PIPE):
        with _piped(shard.removeprefix(PIPE)) as file:
            yield file
    elif _ADDRESS.match(shard):
        with _fetched(shard) as file:
            yield file
    else:
        try:
            file = open_file(at_home(shard))
        except OSError as error:
            raise DataError(f"{shard}: {error.strerror or error}") from None
        with file:
            yield file


@contextlib.contextmanager
def _piped(command: str) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=said, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        finished = False
        try:
            try:
                yield cast(BinaryIO, process.stdout)
                finished = not process.stdout.read(1)
            except DataError as error:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)  # one that failed says why its output is cut off
                if process.poll() in (None, 0):
                    raise
                raise _failed(command, process, said) from error
            if finished and process.wait():
                raise _failed(command, process, said)
        finally:
            process.stdout.close()
            if process.poll() is None and not finished:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _failed(command: str, process: subprocess.Popen[bytes], said: Any) -> DataError:
    said.seek(0)
    lines = said.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
    reason = f": {lines[-1][:200]}" if lines else ""
    return DataError(f"{PIPE}{command}: ended with exit code {process.returncode}{reason}")


@contextlib.contextmanager
def _fetched(address: str) -> Iterator[BinaryIO]:
    scheme = address.partition(":")[0]
    try:
        import fsspec  # pyright: ignore[reportMissingTypeStubs]

        opening: Any = fsspec.open(address, "rb")
        file = opening.open()
    except ImportError as error:
        raise XferError(
            f"{scheme}:// needs a package that is not installed ({error})",
            "pip install 'xfer[stream]' for s3://; fsspec names the package of another",
        ) from None
    except Exception as error:  # of a network or a service
        raise DataError(f"{address}: {type(error).__name__}: {str(error)[:200]}") from error
    with file:
        yield file
