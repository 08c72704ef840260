"""The server's answers to requests: the page, and JSON for a picture.

GET  /          | the page; /page.css, /page.js
GET  /healthz   | {"status": "ok"}
POST /predict   | a form with the picture in its field `file` -> the row that `xfer predict
                | --format json` prints for it
POST /look      | the same form -> the row and what the page draws with it (`Answers.look`)
POST /explain   | the same, and the name of a class in `label` -> where it was found
POST /picture   | the same form -> the picture as a JPEG

Everything else is {"error": line} with 400, 403, 404, 405, 408, 413, 415, 422, 500 or 503.
"""

from __future__ import annotations

import asyncio
import html
import ipaddress
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xfer.errors import XferError
from xfer.serving.answers import Answers, NoPicture
from xfer.serving.turns import Full, Turns
from xfer.serving.upload import MAX_BYTES, SECONDS, Upload, read_upload

PLACES = 16  # requests at a time: one at work, the others wait
ANSWER_SECONDS = 60.0
_HEADERS = {
    # the page loads nothing from elsewhere, and no other page shows it in a frame
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_FILES = {"/page.css": "text/css", "/page.js": "text/javascript"}


@dataclass(frozen=True)
class Limits:
    """bytes | of a picture file; places | requests at a time; seconds | until a picture has
    arrived; answer | until it is answered"""

    bytes: int = MAX_BYTES
    places: int = PLACES
    seconds: float = SECONDS
    answer: float = ANSWER_SECONDS


def make_app(
    answers: Answers,
    about: Mapping[str, str],
    hosts: Collection[str] = (),
    log: Callable[[str], None] | None = None,
    complain: Callable[[str], None] | None = None,
    limits: Limits | None = None,
) -> ASGIApp:
    """The application.

    Args:
        answers: what is asked.
        about: the page's "title" and "line" below it, as text.
        hosts: names besides localhost and addresses under which it may be reached.
        log: called with a line per request; complain: with a line for what should not happen.
    """
    limits = limits or Limits()
    turns = Turns(limits.places)
    page = _page(about)

    def answer(work: Callable[[Upload], Any]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            try:
                with turns.place():
                    result = await _answered(work, request, turns, limits)
            except Full:
                return _error(503, f"busy: {limits.places} requests are waiting; try again")
            except HTTPException:
                raise
            except Exception as error:  # Starlette's own answer would be plain text
                return await failed(request, error)
            if isinstance(result, bytes):
                return Response(result, media_type="image/jpeg")
            return JSONResponse(result)

        return handle

    async def show_page(request: Request) -> Response:
        kind = _FILES.get(request.url.path, "text/html")
        return Response(page[request.url.path], media_type=kind)

    async def healthy(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            path, line = request.url.path[:100], error.detail
            if error.status_code == 404:
                line = f"there is no {path!r} here"
            elif error.status_code == 405:
                line = f"{path} takes {(error.headers or {}).get('Allow', 'another method')}"
            return _error(error.status_code, line, error.headers)
        line = f"internal error: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if complain is not None:
            complain(f"{request.url.path}: {line}")
        return _error(500, line)

    routes = [Route(path, show_page, methods=["GET"]) for path in page]
    routes.append(Route("/healthz", healthy, methods=["GET"]))
    for path, work in (
        ("/predict", lambda upload: answers.predict(upload.data, upload.name)),
        ("/look", lambda upload: answers.look(upload.data, upload.name)),
        (
            "/explain",
            lambda upload: answers.explain(
                upload.data, upload.name, upload.fields.get("label", "")
            ),
        ),
        ("/picture", lambda upload: answers.picture(upload.data, upload.name)),
    ):
        routes.append(Route(path, answer(work), methods=["POST"]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: failed})
    return _Guard(app, frozenset(host.lower() for host in hosts), log, failed)


async def _answered(
    work: Callable[[Upload], Any], request: Request, turns: Turns, limits: Limits
) -> Any:
    """What the net says of the picture in a request. Raises HTTPException."""
    try:
        async with asyncio.timeout(limits.seconds):
            upload = await read_upload(request, limits.bytes)
    except TimeoutError:
        raise HTTPException(408, f"the picture took more than {limits.seconds:g} s") from None
    try:
        return await turns.call(lambda: work(upload), limits.answer)
    except TimeoutError:
        raise HTTPException(503, f"no answer within {limits.answer:g} s: try again") from None
    except NoPicture as error:
        raise HTTPException(415, error.message) from None
    except XferError as error:
        raise HTTPException(422, error.message) from None


class _Guard:
    """Around the application: answers only requests that are meant for this server, adds the
    headers, logs, and keeps errors to a line.

    A page of someone else's, open in the same browser, can make a name of its own lead to this
    address (DNS rebinding), and can send forms here without seeing the answer. So the Host must be
    an address, localhost or a name given, and Origin, where a browser sends one, the same host.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: frozenset[str],
        log: Callable[[str], None] | None,
        failed: Callable[[Request, Exception], Any],
    ) -> None:
        self._app, self._hosts, self._log, self._failed = app, hosts, log, failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refused(Headers(scope=scope))
        try:
            await (refusal or self._app)(scope, receive, send_with_headers)
        except Exception as error:
            response = await self._failed(Request(scope), error)
            if not status:
                await response(scope, receive, send_with_headers)
        if self._log is not None:
            took = 1000 * (time.perf_counter() - started)
            self._log(f"{scope['method']} {scope['path']} {status} {took:.0f} ms")

    def _refused(self, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return _error(403, f"host {host[:100]!r} is not this server: use its address")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return _error(403, f"a page of {origin[:100]!r} may not ask here")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name == "localhost" or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _error(status: int, line: str, headers: Mapping[str, str] | None = None) -> Response:
    more = {"retry-after": "1"} if status == 503 else {}
    return JSONResponse({"error": line}, status, {**(headers or {}), **more})


def _page(about: Mapping[str, str]) -> dict[str, bytes]:
    """The page's files by their paths, read once: no request names a file."""
    folder = resources.files("xfer.serving")
    text = folder.joinpath("page.html").read_text(encoding="utf-8")
    for key, value in about.items():
        text = text.replace(f"{{{{{key}}}}}", html.escape(value))
    own = {path: folder.joinpath(path[1:]).read_bytes() for path in _FILES}
    return {"/": text.encode(), **own}
