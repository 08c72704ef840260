"""Ctrl-C, SIGTERM and SIGHUP end any command with 130 and leave nothing half written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_data_pack_safety import SMALL, Stopping

import xfer.data.pack.writer as packing
from xfer.cli.app import main
from xfer.data.pack.writer import pack
from xfer.exit_codes import LAST, ended_by_signals
from xfer.train.signals import StopFlag

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")

NATIVE = """
import hashlib
from xfer.exit_codes import ended_by_signals
with ended_by_signals():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes in one call
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_each_signal_interrupts_and_its_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_under_nohup_a_lost_terminal_is_no_reason_to_stop() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals(), StopFlag() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_ends_native_work_that_takes_minutes() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", NATIVE], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(1)  # now it is in that call
            start = time.monotonic()
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                time.sleep(0.2)
            assert process.wait(60) == 130
            assert time.monotonic() - start < LAST + 10
            assert process.stderr is not None
            assert process.stderr.read() == b"xfer: interrupted\n"
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_packing_that_is_told_to_stop_goes_on_with_the_same_command(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls, real = tmp_path / "p", [0], packing._synced

    def stops(file: Any) -> None:
        calls[0] += 1
        if calls[0] == 5:
            signal.raise_signal(number)
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_synced", stops)
        with pytest.raises(KeyboardInterrupt), ended_by_signals():
            pack(Stopping(60), out, SMALL)
    assert not [file for file in out.iterdir() if file.suffix in (".tmp", ".lock")]
    assert pack(Stopping(60), out, SMALL).kept == 1


def test_a_command_that_is_told_to_stop_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stops(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("xfer.runs.listing.list_runs", stops)
    assert main(["runs", "ls"]) == 130
    assert capsys.readouterr().err == "xfer: interrupted\n"
