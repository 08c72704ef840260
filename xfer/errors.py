"""The errors xfer raises: one line that says what is wrong, and one that says what to do."""

from __future__ import annotations

import contextlib
import difflib
import errno
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

# the flag and the key that leave out what can't be used
SKIP_BAD = "--skip-bad (data.skip_bad=true) leaves them out"


class XferError(Exception):
    """The command or the call is wrong. The command line prints it and exits with `code`.

    Args:
        message: what is wrong, naming the file, key or value.
        hint: what to do about it, one line.

    `file` is what was being read, a file or a folder, if that is known.
    """

    code: ClassVar[int] = 2
    file: str | None = None

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        message = spoken(self.message)
        return message if self.hint is None else f"{message}\n  {spoken(self.hint, keys=True)}"

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of the traceback: where in the toolkit an error of the call or
        of a file was noticed helps nobody."""
        return [f"{type(self).__name__}: {self}"]


class DataError(XferError):
    """A file or a data set is missing, broken or does not fit."""

    code: ClassVar[int] = 3


class DivergedError(XferError):
    """Training produced non-finite numbers."""

    code: ClassVar[int] = 4


# whether a command is running, rather than a script or a notebook: `xfer.cli.app.main` sets it
_commands: list[bool] = []


@contextlib.contextmanager
def command_line() -> Iterator[None]:
    """Context of a command: what is printed speaks of flags, not of Python's arguments."""
    _commands.append(True)
    try:
        yield
    finally:
        _commands.pop()


def spoken(text: str, keys: bool = False) -> str:
    """A message in its reader's words: as it is on the command line, else `in_python`."""
    return text if _commands else in_python(text, keys)


_RESUME = re.compile(r"xfer finetune --resume ('[^']*'|[^\s`]+)")
# words after a flag that are no value of it: "another --lr or --seed"
_NO_VALUE = ("or|and|is|are|of|for|to|if|in|on|needs?|takes?|fits?|scores|trains?|has|with|leaves?|"
             "allows?|decodes|that|which|by|up")  # fmt: skip
_FLAG = re.compile(
    r"--(?!nproc-per-node|max-restarts|debug|help|json|clear|version)(?P<name>[a-z][a-z-]+)"
    rf"(?: (?!(?:{_NO_VALUE})\b)(?P<value>\[[^\]]*\]|'[^']*'|[\w./:-]*[\w/]))?"
)
# a value ends at a blank, unless the whole is quoted for a shell, and never with punctuation
_TABLE_KEY = r"(data|optim|schedule|eval|run|task|backbone)\.([a-z]\w*)="
_KEY = re.compile(rf"\b{_TABLE_KEY}((?:[^\s;)]*[^\s;:,.)])?)")
_QUOTED_KEY = re.compile(rf"'{_TABLE_KEY}((?:[^']|'\"'\"')*)'")
_ON = {"skip-bad": "skip_bad=True", "no-verify": "verify=False", "overwrite": "overwrite=True",
       "dry-run": "dry_run=True", "strict": "strict=True", "no-cache": "cache=False"}  # fmt: skip


def in_python(text: str, keys: bool = False) -> str:
    """A message about flags in the words of Python: --weight-decay 0.1 is weight_decay=0.1.
    Commands in backticks stay as they are.

    Args: keys: whether keys are to be typed, too: optim.ema=0.9 is optim__ema=0.9.
    """
    text = text.replace("--skip-bad (data.skip_bad=true)", "--skip-bad")
    text = _RESUME.sub(lambda m: f"xfer.finetune(resume={_unquoted(m[1])!r})", text)
    parts = re.split(r"(`(?:xfer|pip|torchrun) [^`]*`)", text)
    for n, part in enumerate(parts):
        if n % 2 == 0:
            part = re.sub(r"--set (?=\w)(\S+)", lambda m: _KEY.sub(_keyword, m[1]), part)
            part = _FLAG.sub(_argument, part)
            parts[n] = _KEY.sub(_keyword, _QUOTED_KEY.sub(_keyword, part)) if keys else part
    return "".join(parts)


def _argument(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    if name in _ON:
        return _ON[name] + (f" {value}" if value else "")
    word = name.replace("-", "_")
    return word if value is None else f"{word}={_literal(value)}"


def _keyword(match: re.Match[str]) -> str:
    value = match[3].replace("'\"'\"'", "'")
    return f"{match[1]}__{match[2]}={_literal(value)}"


def _literal(text: str) -> str:
    """A value as Python writes it; names of what is to be put there (FILE) stay."""
    if text in ("true", "false"):
        return text.title()
    plain = re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?|[A-Z][A-Z_]*|[\['\"].*|True|False|", text)
    return text if plain else repr(text)


def _unquoted(text: str) -> str:
    return text[1:-1] if text.startswith("'") else text


# a disk, a quota or a limit on files is used up
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# a disk has failed, or is no longer there
GONE = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN)
# what the machine or the network does, which is not the file's fault
_NOT_THE_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE,
                 errno.ENOMEM, errno.EPIPE, errno.EINTR)  # fmt: skip


@contextlib.contextmanager
def whole(file: Path | str, fault: str = "damaged, or not what it should be") -> Iterator[None]:
    """Context for a reader: whatever a file makes it raise becomes a DataError that names the file.

    A reader checks what it knows can be wrong, and says so itself; this is for what nobody thought
    of: a number of 5,000 digits, a list where a table is due, lists in lists beyond the stack. An
    XferError passes, and so does an OSError that is not the file's fault, such as a full disk.
    """
    try:
        yield
    except XferError as error:
        error.file = error.file or str(file)
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOT_THE_FILE:
            raise
        known = DataError(f"{file}: {reason_of(error, fault)}")
        if isinstance(error, MemoryError):
            known.hint = "it may be damaged, or be far larger inside than outside"
        known.file = str(file)
        raise known from error


Reader = TypeVar("Reader", bound=Callable[..., Any])


def reader(function: Reader) -> Reader:
    """Decorator for a function that reads a file, its first argument: the door of `whole`."""

    @functools.wraps(function)
    def read(file: Path | str, *args: Any, **named: Any) -> Any:
        with whole(file):
            return function(file, *args, **named)

    return read  # pyright: ignore[reportReturnType]


def reason_of(error: Exception, fault: str = "damaged, or not what it should be") -> str:
    """What is wrong with the file that made a reader raise this, in a few words."""
    if isinstance(error, RecursionError):
        return f"{fault} (nested too deeply)"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())[:200] or "no reason given"
    name = "" if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: "
    return f"{fault} ({name}{text})"


# what a terminal obeys instead of showing it: C0 and C1, but for tab and newline, and marks that
# turn the direction of writing, by which a line reads as another
_OBEYED = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if n not in (9, 10)}
_OBEYED |= {n: f"\\u{n:04x}" for n in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def printable(text: str) -> str:
    """A text for a terminal: characters that it would obey are written as \\x1b. Names of classes
    and files are other people's, and a terminal can be told to do much."""
    return text.translate(_OBEYED)


def nearest(word: str, choices: Iterable[str], many: int = 6) -> str:
    """A hint that names the valid choices nearest to a mistyped word."""
    known = sorted(choices)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    names = ", ".join(known[:many])
    return f"choose from: {names}{', ...' if len(known) > many else ''}"


def listed(names: Sequence[str], max_names: int = 10) -> str:
    """The first `max_names` names in a line, and how many more there are."""
    more = f" and {len(names) - max_names} more" if len(names) > max_names else ""
    return ", ".join(names[:max_names]) + more
