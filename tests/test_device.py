"""Devices, precision and random states."""

from __future__ import annotations

import contextlib
import random
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from xfer import device
from xfer.data.loading.collate import stack_images
from xfer.errors import XferError
from xfer.runs import checkpoint
from xfer.types import Batch


def test_an_unknown_device_is_an_error_with_the_choices() -> None:
    for name in ("gpu0", "meta", "xpu"):
        with pytest.raises(XferError, match=f"unknown device '{name}'") as caught:
            device.find_device(name)
        assert "cuda:N" in (caught.value.hint or "")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_on_a_machine_without_it_is_an_error_and_auto_is_not() -> None:
    with pytest.raises(XferError, match="0 CUDA devices"):
        device.find_device("cuda")
    assert device.find_device("auto").type in ("cpu", "mps")


def test_fp16_on_cpu_is_refused() -> None:
    with pytest.raises(XferError, match="GPU"):
        device.find_precision("fp16", torch.device("cpu"))


def test_a_given_precision_is_kept() -> None:
    cpu = torch.device("cpu")
    assert [device.find_precision(p, cpu) for p in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_bf16_multiplies_in_bf16_and_fp32_does_not() -> None:
    layer, x = torch.nn.Linear(4, 4), torch.randn(2, 4)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with device.Place(torch.device("cpu"), precision).autocast():
            assert layer(x).dtype == dtype


def test_random_states_survive_a_file_and_continue_equally(tmp_path) -> None:
    device.seed_everything(5)
    np.random.standard_normal()  # leaves a second gaussian waiting
    checkpoint.save_state(tmp_path / "s.pt", {"random": device.random_states()})

    def draw() -> list[float]:
        return [torch.rand(1).item(), np.random.standard_normal(), random.gauss(0, 1)]

    first = draw()
    device.restore_random_states(checkpoint.load_state(tmp_path / "s.pt")["random"])
    assert draw() == first


def test_describe_names_device_and_precision() -> None:
    text = device.Place(torch.device("cpu"), "bf16", 0, 2).describe()
    assert "cpu" in text and "bf16" in text and "2 processes" in text


def batches(count: int) -> list[Batch]:
    return [Batch(torch.full((2, 3, 1, 1), k), ("a", "b"), {"k": k}) for k in range(count)]


def test_batches_keep_their_order_on_the_way_to_the_device() -> None:
    place = device.Place(torch.device("cpu"))
    found = list(device.on_device(iter(batches(5)), place))
    assert [b.targets["k"] for b in found] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_next_batch_is_copied_before_the_present_one_is_used(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a GPU that only takes notes; that copies overlap on a real one is not measured."""
    log: list[str] = []
    hosts: list[Any] = []

    class Event:
        def synchronize(self) -> None:
            log.append("copied")

    class Stream:
        def __init__(self, *_: Any) -> None: ...

        def record_event(self) -> Event:
            return Event()

        def wait_event(self, event: Event) -> None:
            log.append("wait")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: log.append("used"))

    def moved(batch: Batch, _: Any) -> Batch:
        log.append(f"copy {batch.targets['k']}")
        hosts.append(weakref.ref(batch.images))
        return replace(batch, images=batch.images.clone())

    monkeypatch.setattr(Batch, "to", moved)
    place = device.Place(torch.device("cuda", 0))
    source = (batches(k + 1)[-1] for k in range(count))
    for number, batch in enumerate(device.on_device(source, place)):
        assert batch.targets["k"] == number
        assert hosts[number]() is not None  # until its copy is over
        log.append(f"step {number}")
    wanted: list[str] = ["copy 0"] if count else []
    for k in range(count):
        wanted += [f"copy {k + 1}"] * (k + 1 < count)
        wanted += ["wait", "used", f"step {k}", "copied"]
    assert log == wanted


def test_pictures_are_written_where_the_batch_lies() -> None:
    """Rows of a tensor's memory, as pinned memory is: stacking them copies nothing."""
    whole = torch.zeros(3, 4, 5, 3, dtype=torch.uint8)
    stacked = stack_images(list(whole.numpy()))
    assert stacked.data_ptr() == whole.data_ptr() and stacked.shape == (3, 3, 4, 5)
