"""How long `xfer serve` takes to answer: 200 requests, 8 at a time, over the loopback.

The server is a process of its own, as a user starts it; each client keeps asking on a connection of
its own. One net at a time computes, so at 8 at a time a request waits for up to seven others.

median_ms, p95_ms | of a request, 8 at a time
alone_ms          | the median of 20 requests one after another
per_second        | answers per second, 8 at a time
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import harness
import numpy as np
from PIL import Image

AT_ONCE = 8


def main() -> None:
    assert __doc__ is not None
    parser = harness.parser(__doc__, rounds=1)
    parser.add_argument("--run", type=Path, help="a run folder; default: one step on digits")
    parser.add_argument("--backbone", default="alexnet", help="of that step (%(default)s)")
    parser.add_argument("--requests", type=int, default=200, help="(%(default)s)")
    words = parser.parse_args()
    count = 16 if words.quick else words.requests
    with tempfile.TemporaryDirectory() as folder:
        run = words.run or trained(words, Path(folder) / "run")
        figures = measured(run, count, words.rounds)
    print(harness.machine("cpu"))
    print(", ".join(f"{name} {value:.1f}" for name, value in figures.items()))
    if words.json:
        words.json.write_text(json.dumps(figures, indent=1) + "\n")


def trained(words: argparse.Namespace, out: Path) -> Path:
    """A run of a single step: its speed is that of any other."""
    subprocess.run(
        [sys.executable, "-m", "xfer", "finetune", "--data", "digits", "--backbone", words.backbone,
         "--weights", "none", "--limit", "32", "--out", str(out), "-q", "--tta", "none",
         "schedule.steps=1", "run.plots=false", "run.report=false"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return out


def measured(run: Path, count: int, rounds: int) -> dict[str, float]:
    """Starts the server, asks, and ends it; the median of the rounds."""
    server = subprocess.Popen(
        [sys.executable, "-m", "xfer", "serve", str(run), "--port", "0", "--json"],
        stdout=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        text = ""
        while not text.rstrip().endswith("}"):
            line = server.stdout.readline()
            assert line, "the server did not start"
            text += line
        place = json.loads(text)["url"].split("/")[2]
        body = form()
        asked(place, body, 5)
        alone = statistics.median(asked(place, body, 20))
        found = [at_once(place, body, count) for _ in range(rounds)]
    finally:
        server.terminate()
        server.wait(60)
    return {
        "median_ms": statistics.median(statistics.median(times) for times, _ in found),
        "p95_ms": statistics.median(float(np.percentile(times, 95)) for times, _ in found),
        "alone_ms": alone,
        "per_second": statistics.median(count / seconds for _, seconds in found),
    }


def form() -> bytes:
    """A form with a JPEG of 500 x 375 pixels."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (15, 20, 3), np.uint8))
    out = io.BytesIO()
    small.resize((500, 375), Image.Resampling.BICUBIC).save(out, format="jpeg", quality=90)
    head = '--xx\r\ncontent-disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    return head.encode() + out.getvalue() + b"\r\n--xx--\r\n"


def asked(place: str, body: bytes, count: int) -> list[float]:
    """Milliseconds of requests one after another."""
    client, times = http.client.HTTPConnection(place, timeout=60), list[float]()
    kind = {"content-type": "multipart/form-data; boundary=xx"}
    for _ in range(count):
        started = time.perf_counter()
        client.request("POST", "/predict", body, kind)
        answer = client.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        times.append(1000 * (time.perf_counter() - started))
    client.close()
    return times


def at_once(place: str, body: bytes, count: int) -> tuple[list[float], float]:
    """Milliseconds of requests, 8 at a time, and the seconds for all of them."""
    times: list[float] = []
    each = count // AT_ONCE
    clients = [
        threading.Thread(target=lambda: times.extend(asked(place, body, each)))
        for _ in range(AT_ONCE)
    ]
    started = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(times) == each * AT_ONCE, "a request failed"
    return times, time.perf_counter() - started


if __name__ == "__main__":
    main()
