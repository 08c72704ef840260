"""On a GPU a run's files are written beside the training, from a copy of what is to be kept."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from xfer.device import Place
from xfer.testing.pretended_gpu import CARD, pretended_gpu
from xfer.train.saver import Saver, on_host


def test_what_is_kept_is_copied_and_written_later() -> None:
    may_write, written = threading.Event(), list[Any]()

    def write(state: Any) -> None:
        may_write.wait(10)
        written.append(state)

    with pretended_gpu():
        weight, count = torch.ones(3, device=CARD), torch.ones(1)
        saver = Saver(Place(CARD))
        saver.write(write, {"w": weight, "more": [count, 5, ("a",)]})
        weight.add_(1)
        count.add_(1)
        assert not written
        may_write.set()
        saver.wait()
        saver.close()
    (state,) = written
    assert state["w"].device.type == "cpu" and state["w"].tolist() == [1, 1, 1]
    assert state["more"] == [torch.ones(1), 5, ("a",)] and saver.seconds > 0


def test_a_write_that_failed_is_raised_by_the_next() -> None:
    def fail(state: Any) -> None:
        raise OSError("no space")

    with pretended_gpu():
        saver = Saver(Place(CARD))
        saver.write(fail, {})
        with pytest.raises(OSError, match="no space"):
            saver.write(fail, {})
        saver.close()


def test_on_a_cpu_files_are_written_at_once() -> None:
    written: list[Any] = []
    state = {"w": torch.ones(2)}
    saver = Saver(Place(torch.device("cpu")))
    saver.write(written.append, state)
    assert written == [state] and written[0] is state, "without a copy"
    saver.close()
    assert on_host(state)["w"] is not state["w"]
