"""Files written atomically, folders checked before anything is written into them, and files read
only if they are files: neither a pipe or a device nor endless."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from xfer.errors import GONE, NO_ROOM, DataError, whole
from xfer.locking.sole_writer import check_home

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
# the most bytes that are read of a file that people write by hand, and of a list or table
NOTE, TABLE = 16 * MB, 8 * GB
LARGE = 256 * MB  # a note that may carry a picture, or very many outlines
# lists in lists, and tables in tables, in a file that people write by hand
DEEPEST = 100
Types = Mapping[str, type | tuple[type, ...]]
# a pipe is not waited for, and a terminal does not become this process's
_FLAGS = os.O_RDONLY
for _flag in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_BINARY"):
    _FLAGS |= getattr(os, _flag, 0)
_KINDS = {
    stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket",
}  # fmt: skip


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`; on success it is synced and replaces `path`.

    If the body raises, or the process dies, the old file is untouched. The new file's permissions
    follow the umask, like those of any file. Raises DataError if the disk is full, or `path` is a
    folder or a device, OSError if the folder is not writable.
    """
    check_file(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with room(path):
            temporary.touch(exist_ok=False)
            mode = temporary.stat().st_mode
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)  # safetensors makes its own file, readable by its owner only
            temporary.replace(path)
        sync_folder(path.parent)
    except Exception:
        check_home(path)  # whatever a writer raises if its folder goes away meanwhile
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def room(path: Path) -> Iterator[None]:
    """Context for a writer: a disk that is full or gone becomes a DataError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in GONE:
            raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from error
        if error.errno not in NO_ROOM:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "no space left on the disk" if full else (error.strerror or str(error)).lower()
        raise DataError(
            f"{path}: {reason}", "free some space; what was already saved is intact"
        ) from error


def append_line(path: Path, line: str) -> None:
    """Adds a line to a text file: the whole of it, or nothing.

    Raises: DataError if the disk is full, or the folder is gone, see `check_home`, and for a link:
        in somebody's run it may lead to any file of the user's.
    """
    check_home(path)
    if path.is_symlink():
        raise DataError(f"{path}: a link, which is not written through", "put the file there")
    with room(path):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        file = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            data, size = f"{line}\n".encode(), os.fstat(file).st_size
            try:
                done = 0
                while done < len(data):
                    done += os.write(file, data[done:])
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)


def sync_folder(folder: Path) -> None:
    """Makes a rename in the folder survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_file(path: Path) -> None:
    """Raises DataError if a path is a folder or a device (/dev/null), which no file may replace."""
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file", "name a file")
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is a device, not a file", "name a file")


class NotAFile(DataError):
    """A path that leads to a pipe, a device, a socket or a folder: `what` it is."""

    def __init__(self, path: Path | str, what: str) -> None:
        super().__init__(f"{path}: {what}, not a file")
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return DataError, (self.message, self.hint)


def open_regular(path: Path | str) -> int:
    """Opens a file for reading: a descriptor, for the caller to close.

    Raises: DataError for what is no regular file, without waiting for a pipe; OSError.
    """
    try:
        handle = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what opening a socket gives
            raise NotAFile(path, "a socket") from None
        raise
    except ValueError:  # NUL, or half a pair of surrogates
        why = "no file can have this name"
        raise FileNotFoundError(errno.ENOENT, why, str(path)) from None
    kind = stat.S_IFMT(os.fstat(handle).st_mode)
    if kind != stat.S_IFREG:
        os.close(handle)
        raise NotAFile(path, _KINDS.get(kind, "no regular file"))
    return handle


def open_file(path: Path | str) -> BinaryIO:
    """Opens a regular file for reading its bytes. Raises: as `open_regular`."""
    return os.fdopen(open_regular(path), "rb")


def head_of(path: Path | str, most: int) -> bytes:
    """The first bytes of a regular file. Raises: as `open_regular`."""
    with open_file(path) as file:
        return _read(path, file, most)


def bytes_of(path: Path | str, most: int = TABLE) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises: DataError for a pipe, a device or a larger file, and for a large one that was hardly
    written, OSError if it can't be read.
    """
    with open_file(path) as file:
        state = os.fstat(file.fileno())
        size, written = state.st_size, getattr(state, "st_blocks", math.inf) * 512
        # a file system that packs its files has fewer blocks, but no holes
        if NOTE < size <= most and written * 8 < size and _has_hole(file.fileno(), size):
            raise DataError(
                f"{path}: {size:,} bytes, of which only {written:,} were ever written",
                "download or copy it again",
            )
        content = _read(path, file, size + 1) if size <= most else b""
        # a file of /proc says that it is empty, and may have no end; one being written grows
        if size < len(content) <= most:
            most = min(most, size + NOTE)
            content += _read(path, file, most + 1 - len(content))
    if size > most or len(content) > most:
        size = max(size, len(content))
        raise DataError(f"{path}: {size:,} bytes, where at most {most:,} are read")
    return content


def _read(path: Path | str, file: BinaryIO, count: int) -> bytes:
    """Raises DataError for a file of /proc that would have to be waited for, as a pipe."""
    content: bytes | None = file.read(count)
    if content is None:
        raise DataError(f"{path}: nothing can be read from it", "name a file on a disk")
    return content


def _has_hole(handle: int, size: int) -> bool:
    """Whether a part of a file was never written; False where the system can't tell."""
    if not hasattr(os, "SEEK_HOLE"):
        return False
    try:
        return os.lseek(handle, 0, os.SEEK_HOLE) < size
    except OSError:
        return False
    finally:
        os.lseek(handle, 0, os.SEEK_SET)


def text_of(path: Path | str, most: int = TABLE, errors: str = "strict") -> str:
    """The text of a regular file in UTF-8, with or without its mark.

    Args: errors: "replace" for a file whose last line may be cut off.

    Raises: DataError for what `bytes_of` refuses and for other text, OSError.
    """
    try:
        return bytes_of(path, most).decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason})") from None


def json_of(path: Path | str, most: int = NOTE, hook: Callable[[Any], Any] | None = None) -> Any:
    """The content of a JSON file, as `json.loads` gives it.

    Raises: DataError for what `bytes_of` refuses, for what is no JSON, for numbers of thousands of
    digits, and for lists in lists beyond Python's stack; OSError.
    """
    content = bytes_of(path, most)
    with whole(path, "not valid JSON"):
        value = json.loads(content, object_hook=hook)
        if most <= NOTE:
            _check_depth(value)
            if b"\\u" in content or b"\xed" in content:  # half of a character can't be written
                json.dumps(value, ensure_ascii=False).encode()
        return value


def _check_depth(value: Any) -> None:
    """Raises RecursionError for more than DEEPEST lists in lists: whoever walks them would."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise RecursionError


def check_fields(
    file: Path | str, content: object, needed: Types, known: Types = MappingProxyType({})
) -> dict[str, Any]:
    """The content of a JSON file, which must be an object with fields of certain types.

    Args: needed: name -> type of the fields that it must have; known: of those that it may have.

    Raises: DataError that names the file and the field.
    """
    if not isinstance(content, dict):
        raise DataError(f"{file}: damaged (a {type(content).__name__} where a table is due)")
    for name, kind in {**needed, **known}.items():
        if name not in content and name in needed:
            raise DataError(f"{file}: damaged (it lacks {name})")
        if name in content and not isinstance(content[name], kind):
            got = repr(content[name])
            shown = got if len(got) < 60 else f"{got[:56]} ..."
            raise DataError(f"{file}: damaged ({name} is {shown})")
    return content


def at_home(path: Path | str) -> Path:
    """The path with ~ and ~NAME replaced by that user's home folder; unchanged for a user who does
    not exist, where Path.expanduser raises a RuntimeError."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def is_file(path: Path | str) -> bool:
    """Whether a name that a file gives is there and no folder: False, too, for a name that none can
    have, such as one of 300 letters, for which Path.is_file raises an error. A pipe counts: it is
    named when it is to be read."""
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 (a Path costs more)
    except (OSError, ValueError):
        return False


def no_file(path: Path | str) -> str:
    """What is in the place of a file: "a pipe", "a device", "a socket"; "" for files, folders and
    names that are not there."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return ""
    return "" if kind in (stat.S_IFREG, stat.S_IFDIR) else _KINDS.get(kind, "no regular file")


def exists(path: Path | str) -> bool:
    """Whether there is anything of this name, as `is_file`."""
    return os.path.exists(path)  # noqa: PTH110


def is_dir(path: Path | str) -> bool:
    """Whether a name that a file gives is that of a folder, as `is_file`."""
    return os.path.isdir(path)  # noqa: PTH112


def lines_of(file: Path) -> list[str]:
    """The lines of a text file that are not blank. Raises DataError if it can't be read."""
    try:
        lines = text_of(file).splitlines()
    except OSError as error:
        raise DataError(f"{file}: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def check_folder(folder: Path) -> None:
    """Raises DataError if a folder can't be created or is not writable. Creates nothing."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise DataError(f"{existing} is a file, not a folder", "choose another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise DataError(f"{existing} is not writable", "choose another folder")


def check_schema(file: Path | str, found: object, known: int) -> int:
    """The number of a file's layout, 1 or more; a file of the first versions has none.

    Args: found: what the file says, or 1; known: the newest that is read.

    Raises: DataError for a newer one, and for what is no number.
    """
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found < 10**9:
        what = "out of range" if type(found) is int else f"{found!r:.40}"
        raise DataError(f"{file}: damaged (schema {what}, where a number from 1 is due)")
    if found > known:
        raise DataError(
            f"{file}: written by a newer xfer (schema {found}, this one reads up to {known})",
            "pip install -U xfer",
        )
    return found


SUM = "sha256"


def sum_in(file: Path | str, header: Mapping[str, Any]) -> str | None:
    """The checksum that a file's header holds under "sha256", hexadecimal; None if it has none, as
    files of earlier versions and of other programs.

    The value is "sha256:..." as well, so that no turned bit, in the key or in the value, makes a
    file look like one without. Raises: DataError if only one of the two is as it should be.
    """
    found = [key for key, value in header.items() if key == SUM or str(value).startswith(f"{SUM}:")]
    if not found:
        return None
    value = header.get(SUM)
    if found != [SUM] or not re.fullmatch(f"{SUM}:[0-9a-f]{{64}}", str(value)):
        raise DataError(f"{file}: damaged (its checksum can't be read)")
    return str(value).removeprefix(f"{SUM}:")


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a JSON file, and under "sha256", last, the checksum of everything else."""
    import hashlib  # not needed by `xfer --help`

    bare = {key: value for key, value in content.items() if key != SUM}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"))
    return {**bare, SUM: f"{SUM}:{hashlib.sha256(text.encode()).hexdigest()}"}


def check_seal(file: Path | str, content: Mapping[str, Any]) -> None:
    """Raises DataError if a JSON file's content is not what was `sealed`. A file without a checksum
    is from an earlier version."""
    if sum_in(file, content) is not None and sealed(content)[SUM] != content[SUM]:
        raise DataError(
            f"{file}: damaged: its content does not have the sha256 that it names",
            f'make it again; if it was changed on purpose, remove "{SUM}" from it',
        )


def array_sum(array: Any) -> str:
    """sha256 of a numpy array's type, shape and numbers, hexadecimal; however it lies in memory."""
    import hashlib

    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    if array.flags.c_contiguous:
        digest.update(array.data if array.size else b"")
        return digest.hexdigest()
    rows = max(1, MB // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        digest.update(array[start : start + rows].tobytes())
    return digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Creates a folder and those above it; never one that `check_home` misses."""
    home = check_home(folder)
    if home is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    for one in reversed((folder, *folder.parents)):
        if home in one.absolute().parents:
            one.mkdir(exist_ok=True)
