"""A process that searches pictures for proposals: pictures arrive on stdin, boxes go to stdout.

`python -m xfer.proposals.worker MAX_BOXES`. It is a separate program instead of a multiprocessing
worker, which would import the caller's main module again and so fail in a notebook or in a script
without a `__main__` guard.

stdin  | uint32 H, W; then uint8 (H, W, 3)
stdout | int32 R, float32 CPU seconds; then float32 (R, 4), or if R < 0 an error text of -R bytes
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

import xfer
from xfer.errors import XferError

_PICTURE = struct.Struct("<II")
_ANSWER = struct.Struct("<if")

TimedBoxes = tuple[NDArray[np.float32], float]


def timed_search(image: NDArray[np.uint8], max_boxes: int) -> TimedBoxes:
    """selective_search's boxes, float32 (R, 4), and the CPU seconds they took."""
    from xfer.ops.selective_search import selective_search

    start = time.thread_time()
    boxes = selective_search(image, max_boxes)
    return boxes, time.thread_time() - start


class Worker:
    """One process, started for the first picture. For one thread; any thread may call `stop`."""

    def __init__(self, max_boxes: int) -> None:
        self.max_boxes = max_boxes
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def search(self, image: NDArray[np.uint8]) -> TimedBoxes:
        """The boxes of a picture, uint8 (H, W, 3) -> float32 (R, 4), and the CPU seconds.

        Raises: XferError if the process failed or was killed.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(_PICTURE.pack(*image.shape[:2]))
            process.stdin.write(np.ascontiguousarray(image).data)
            process.stdin.flush()
            count, seconds = _ANSWER.unpack(_exactly(process.stdout, _ANSWER.size))
            if count < 0:
                raise XferError(_exactly(process.stdout, -count).decode())
            content = _exactly(process.stdout, count * 16)
        except (OSError, ValueError, EOFError):
            self.stop()
            raise XferError(
                "selective search: its process was killed", "is there enough memory?"
            ) from None
        return np.frombuffer(content, np.float32).reshape(count, 4), seconds

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._process is None and not self._stopped:
                self._process = subprocess.Popen(
                    # -P: not even a numpy.py in the current folder is imported
                    [sys.executable, "-P", "-m", "xfer.proposals.worker", str(self.max_boxes)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(),
                )  # fmt: skip
            if self._process is None:
                raise XferError("selective search was stopped")
            return self._process

    def stop(self) -> None:
        """Kills the process, whatever it is doing."""
        with self._lock:
            self._stopped = True
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # unsent data has no reader any longer
                pass


def _environment() -> dict[str, str]:
    """The process's environment: xfer on Python's path, and no folder by a relative name."""
    here = str(Path(xfer.__file__).resolve().parent.parent)
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [here, *(path for path in given if Path(path).is_absolute())]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def main(max_boxes: int) -> None:
    """Answers requests until stdin ends."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller ends this process
    cv2.setNumThreads(1)
    incoming = sys.stdin.buffer
    outgoing = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(
        sys.stderr.fileno(), sys.stdout.fileno()
    )  # so that a library's prints can't mix with answers
    while len(head := incoming.read(_PICTURE.size)) == _PICTURE.size:
        height, width = _PICTURE.unpack(head)
        image = np.frombuffer(_exactly(incoming, height * width * 3), np.uint8)
        try:
            boxes, seconds = timed_search(image.reshape(height, width, 3), max_boxes)
            outgoing.write(_ANSWER.pack(len(boxes), seconds) + boxes.tobytes())
        # any failure concerns this picture: the caller names it
        except Exception as error:
            text = f"selective search: {type(error).__name__}: {error}".encode()
            outgoing.write(_ANSWER.pack(-len(text), 0.0) + text)
        outgoing.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
