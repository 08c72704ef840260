"""The picture in a request, read into memory: never more than the limit, never onto the disk."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import PurePosixPath

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from xfer.files import MB

# room for every JPEG of 200 million pixels; see "What is refused for its size" in docs/data.md
MAX_BYTES = 64 * MB
SECONDS = 30.0  # that a picture may take to arrive
# what is too large is still taken in, unkept: a client that is cut off sees no answer
_DRAINED, _DRAIN_SECONDS = 1024 * MB, 5.0
_FRAME = 64 * 1024  # the form around the picture
FIELD = "file"


@dataclass(frozen=True)
class Upload:
    """A picture file as it was sent. Its name is text, and opens nothing."""

    data: bytes
    name: str
    fields: dict[str, str]


class _InMemory(MultiPartParser):
    spool_max_size = 2 * MAX_BYTES  # Starlette writes larger files to the disk


async def read_upload(request: Request, max_bytes: int = MAX_BYTES) -> Upload:
    """The file in the form's field `file`.

    Raises: HTTPException 415 for what is no form, 413 for a file of more than `max_bytes`, 400 for
        a form that is damaged or has no such field.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise HTTPException(415, f"send a form (multipart/form-data) with the field {FIELD!r}")
    stream = _limited(request, max_bytes)
    try:
        form = await _InMemory(Headers(raw=request.headers.raw), stream, max_files=1,
                               max_fields=4, max_part_size=1024).parse()  # fmt: skip
    except MultiPartException as error:
        raise HTTPException(400, f"the form can't be read: {error.message}") from None
    try:
        file = form.get(FIELD)
        if not isinstance(file, UploadFile):
            raise HTTPException(400, f"the form has no file in its field {FIELD!r}")
        fields = {key: value for key, value in form.multi_items() if isinstance(value, str)}
        return Upload(await file.read(), _plain_name(file.filename), fields)
    finally:
        await form.close()


async def _limited(request: Request, max_bytes: int) -> AsyncGenerator[bytes]:
    """The body, piece by piece. Raises HTTPException 413 if it is longer than a file may be."""
    most, size = max_bytes + _FRAME, 0
    length = request.headers.get("content-length", "")
    late = False
    end = 0.0
    if length.isdecimal() and int(length) > most:
        late, end = True, time.monotonic() + _DRAIN_SECONDS
    async for piece in request.stream():
        size += len(piece)
        if not late and size > most:
            late, end = True, time.monotonic() + _DRAIN_SECONDS
        if late and (size > _DRAINED or time.monotonic() > end):
            break
        if not late:
            yield piece
    if late:
        raise HTTPException(413, f"more than {max_bytes // MB} MB: shrink the picture first")


def _plain_name(name: str | None) -> str:
    """The last part of a file's name, as browsers send it, in at most 255 characters."""
    return PurePosixPath((name or "").replace("\\", "/")).name[-255:] or "picture"
