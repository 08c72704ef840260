"""Devices, precision and random states."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from xfer import checkpoint, device
from xfer.errors import XferError


def test_an_unknown_device_is_an_error_with_the_choices() -> None:
    with pytest.raises(XferError, match="cuda"):
        device.find_device("gpu0")


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


def test_out_of_memory_is_recognised() -> None:
    assert device.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert device.is_out_of_memory(
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory"
        )
    )
    assert not device.is_out_of_memory(RuntimeError("shape mismatch"))


def test_describe_names_device_and_precision() -> None:
    text = device.Place(torch.device("cpu"), "bf16", 0, 2).describe()
    assert "cpu" in text and "bf16" in text and "2 processes" in text
