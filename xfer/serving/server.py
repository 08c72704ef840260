"""Runs the server: a socket first, then the model, then requests until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import ipaddress
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from xfer import plugs
from xfer.errors import XferError
from xfer.exit_codes import stop_signals

if TYPE_CHECKING:
    from xfer.inference.model import Model

LOOPBACK = "127.0.0.1"
NEEDS = ("starlette", "uvicorn", "python_multipart")


@dataclass(frozen=True)
class Started:
    """A server that is about to answer. url | of its page; loopback | whether this machine alone
    reaches it; title, line | what it serves"""

    url: str
    loopback: bool
    title: str
    line: str


def check_installed() -> None:
    """Raises XferError if a package of the extra `serve` is missing."""
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(name.replace("_", "-") for name in missing)
        raise XferError(f"xfer serve needs {names}", "pip install 'xfer[serve]'")


@plugs.face()
def serve(
    run: Path | str,
    *,
    host: str = LOOPBACK,
    port: int = 8765,
    tta: str = "",
    device: str = "auto",
    trust: str | Sequence[str] = (),
    started: Callable[[Started], None] | None = None,
    log: Callable[[str], None] | None = None,
    complain: Callable[[str], None] | None = None,
) -> None:
    """`xfer serve`: answers until it is interrupted.

    Args:
        run: a run folder, or an ONNX file that `xfer export` wrote.
        host, port: where; port 0: any that is free.
        tta, device: as for `xfer predict`.
        trust: your own modules that the run may import.
        started: called once requests are answered; log: with a line per request; complain: with a
            line for what should not happen.

    Raises: XferError if the port is in use, the extra `serve` is missing, or the run holds no
        model; DataError for damaged files; KeyboardInterrupt.
    """
    check_installed()
    with _listening(host, port) as listener:
        from xfer.serving.answers import Answers
        from xfer.serving.app import make_app

        model = _model(run, device, trust)
        if tta:
            model.task.check_views(tta)
        address = listener.getsockname()
        loopback = ipaddress.ip_address(address[0]).is_loopback
        shown = LOOPBACK if address[0] in ("0.0.0.0", "::") else address[0]
        url = f"http://{f'[{shown}]' if ':' in shown else shown}:{address[1]}/"
        count = len(model.classes)
        line = f"{model.task.backbone.name}, {model.task.kind.holds}"
        line += f", {count} classes" if count else ""
        about = Started(url, loopback, str(run), line)
        names = {host} if loopback else {host, socket.gethostname(), socket.getfqdn()}
        app = make_app(
            Answers(model, tta),
            {"title": about.title, "line": about.line, "url": url},
            names,
            log,
            complain,
        )
        _run(app, listener, lambda: started(about) if started is not None else None)


def _model(run: Path | str, device: str, trust: str | Sequence[str]) -> Model:
    if Path(run).suffix == ".onnx":
        from xfer.exporting.opened import load_onnx

        return load_onnx(run, trust=trust)
    from xfer.inference.model import load

    return load(run, device=device)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens. Raises XferError if there can be none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise XferError(f"--host {host}: no such address", f"--host {LOOPBACK}") from None
    family, kind, _, _, address = found[0]
    with socket.socket(family, kind) as listener:
        if sys.platform != "win32":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(128)
        except OSError as error:
            raise XferError(*_why_not(host, port, error)) from None
        yield listener


def _why_not(host: str, port: int, error: OSError) -> tuple[str, str]:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use", "--port N: another one; --port 0: any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} is for the system's own servers", "--port N of 1024 or more"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: not an address of this machine", f"--host {LOOPBACK}"
    return f"can't listen on {host}, port {port}: {error.strerror}", "--host and --port"


def _run(app: object, listener: socket.socket, started: Callable[[], None]) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        stopped = False

        def stop(self, number: int, frame: FrameType | None) -> None:
            self.should_exit = self.force_exit = self.stopped = True

        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None]:
            """A signal ends the loop at its next turn, within a tenth of a second, and no request
            is waited for. Raised where it arrives, as an exception, uvicorn could take it for one
            of a request."""
            if threading.current_thread() is not threading.main_thread():
                yield
                return
            before = {number: signal.signal(number, self.stop) for number in stop_signals()}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False,  # pyright: ignore[reportArgumentType]
        server_header=False, proxy_headers=False, limit_concurrency=256,
    )  # fmt: skip
    server = Server(config)
    asyncio.run(server.serve(sockets=[listener]))
    if server.stopped:
        raise KeyboardInterrupt
