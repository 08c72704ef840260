"""Memory that runs out: in training the batch that fits is named, in evaluation it is halved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_loop import CPU, TINY, changed, train

import xfer
from xfer.data.loading.halved import Halved, is_out_of_memory, may_be_memory
from xfer.errors import XferError
from xfer.inference.evaluate import evaluate
from xfer.task import get
from xfer.types import Batch

# what the libraries below raise
CERTAIN = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
)
PERHAPS = (
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
)
CLASSIFY: Any = get("classify")


def fails_above(most: int, error: Exception, real: Any) -> Any:
    """`real` on batches of at most that many pictures; larger ones raise."""

    def limited(task: Any, batch: Batch, *rest: Any) -> Any:
        if len(batch) > most:
            raise error
        return real(task, batch, *rest)

    return limited


class Explodes(torch.autograd.Function):
    """Raises in the backward pass if it gets more than 20 rows."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        if len(grads[0]) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return grads[0]


def test_which_errors_are_of_memory() -> None:
    assert all(is_out_of_memory(error) and may_be_memory(error) for error in CERTAIN)
    assert all(may_be_memory(error) and not is_out_of_memory(error) for error in PERHAPS)
    for other in (RuntimeError("shape mismatch"), ValueError("out of memory")):
        assert not may_be_memory(other)


@pytest.mark.parametrize("error", [CERTAIN[2], CERTAIN[3], PERHAPS[1]])
def test_training_names_the_batch_that_fits(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CLASSIFY, "forward", fails_above(20, error, CLASSIFY.forward))
    with pytest.raises(XferError, match=r"with a batch of 64\n.*batch=16 fits.*accumulate=4"):
        train(tmp_path / "b")


def test_the_backward_pass_may_run_out_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CLASSIFY._features
    monkeypatch.setattr(CLASSIFY, "_features", lambda *a: Explodes.apply(real(*a)))
    with pytest.raises(XferError, match=r"batch=16 fits"):
        train(tmp_path / "b")


def test_a_failure_with_any_batch_is_not_called_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CLASSIFY, "forward", fails_above(0, PERHAPS[0], CLASSIFY.forward))
    with pytest.raises(RuntimeError, match="CUDNN_STATUS_NOT_SUPPORTED"):
        train(tmp_path / "b")
    monkeypatch.setattr(CLASSIFY, "forward", fails_above(0, CERTAIN[3], CLASSIFY.forward))
    with pytest.raises(XferError, match="not even one picture fits"):
        train(tmp_path / "c")


def test_scoring_halves_the_batch_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = changed(TINY, schedule={"epochs": 1}, eval={"tta": "10crop"})
    whole = train(tmp_path / "whole", recipe).result["metrics"]
    capfd.readouterr()
    monkeypatch.setattr(CLASSIFY, "predict", fails_above(5, CERTAIN[0], CLASSIFY.predict))
    halved = train(tmp_path / "halved", recipe).result["metrics"]
    assert halved["loss"] == pytest.approx(whole["loss"], rel=1e-4)
    assert halved["top5"] == pytest.approx(whole["top5"], abs=0.01)
    said = capfd.readouterr().err
    assert "warning: out of memory with 12 pictures at a time: 6 at a time from here on" in said
    assert "with 6 pictures at a time: 3 at a time" in said
    with pytest.warns(RuntimeWarning, match="out of memory with"):
        again = evaluate(tmp_path / "halved")["metrics"]
    assert again["loss"] == pytest.approx(whole["loss"], rel=1e-4)
    images = list(np.random.default_rng(0).integers(0, 255, (20, 40, 40, 3), np.uint8))
    model = xfer.load(tmp_path / "halved")
    predicted = model.predict(images)
    monkeypatch.undo()
    wanted = model.predict(images)
    for one, two in zip(predicted, wanted, strict=True):
        assert one.id == two.id and np.allclose(one.scores, two.scores, atol=1e-5)
    assert [f.check for f in predicted.findings] == ["memory"] * 2 and not wanted.findings


def test_features_halve_the_batch_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from xfer.extraction.net import FeatureNet

    given: dict[str, Any] = {"backbone": "resnet18", "layer": "layer1", "weights": "none",
                             "size": 32, "limit": 12, "batch": 8, "cache": False}  # fmt: skip
    whole, _ = xfer.features("digits", **given)
    real = FeatureNet._pooled

    def limited(net: FeatureNet, images: torch.Tensor) -> Any:
        if len(images) > 3:
            raise CERTAIN[0]
        return real(net, images)

    monkeypatch.setattr(FeatureNet, "_pooled", limited)
    said: list[str] = []
    halved, _ = xfer.features("digits", **given, say=said.append)
    assert np.allclose(whole, halved, atol=1e-4)
    assert [line for line in said if "out of memory with 8 pictures at a time" in line]


def test_a_single_picture_that_does_not_fit_is_an_error() -> None:
    halved = Halved[int](CPU)

    def fail(start: int, stop: int) -> int:
        raise CERTAIN[0]

    with pytest.raises(XferError, match="out of memory with a single picture"):
        halved(5, fail)
    with pytest.raises(RuntimeError, match="NOT_SUPPORTED"):
        Halved[int](CPU)(5, lambda *_: (_ for _ in ()).throw(PERHAPS[0]))
