"""A batch norm that is given one value per channel goes by its running statistics."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loop import changed, equal, train
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from xfer.errors import XferError
from xfer.nn.lone_values import allow_lone_values
from xfer.train.job import Job
from xfer.train.loop import Summary


def made(kind: str) -> nn.Module:
    torch.manual_seed(3)
    norm = {"1d": nn.BatchNorm1d, "2d": nn.BatchNorm2d, "act": BatchNormAct2d}[kind](5)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(norm).train()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["1d", "2d", "act"]), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)
)
def test_only_a_single_value_per_channel_is_treated_so(
    kind: str, count: int, height: int, width: int
) -> None:
    shape = (count, 5) if kind == "1d" else (count, 5, height, width)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    norm, before, said = made(kind), made(kind), list[str]()
    allow_lone_values(norm, said.append)
    result = norm(values)
    lone = values.numel() == 5
    plain = before.eval() if lone else before
    assert torch.equal(result, plain(values)) and said == ["0"] * lone
    assert norm[0].training  # pyright: ignore[reportIndexIssue]
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, before.get_buffer(name)), name
    copied = copy.deepcopy(norm)
    assert torch.equal(copied(values[:1]), norm(values[:1]))


def test_a_batch_norm_trains_on_after_an_error() -> None:
    norm = made("2d")
    allow_lone_values(norm, lambda _: None)
    with pytest.raises(ValueError, match="expected 4D"):
        norm(torch.zeros(1, 5))
    assert norm[0].training  # pyright: ignore[reportIndexIssue]
    assert not norm.eval()[0].training  # pyright: ignore[reportIndexIssue]
    norm(torch.zeros(1, 5, 1, 1))
    assert not norm[0].training  # pyright: ignore[reportIndexIssue]


def narrow(**data: Any) -> Any:
    recipe = changed(data={"limit": 12, **data}, schedule={"epochs": 1.0}, optim={"lr": 1e-3})
    return replace(recipe, backbone="tiny_nets:narrow")


def said_of(recipe: Any, out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Summary, list[str]]:
    lines: list[str] = []
    real = Job._say_lone

    def listen(job: Job, name: str) -> None:
        job._say = lines.append
        real(job, name)

    monkeypatch.setattr(Job, "_say_lone", listen)
    return train(out, recipe), lines


def test_a_batch_of_one_trains_and_says_once_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary, lines = said_of(narrow(batch=1), tmp_path / "one", monkeypatch)
    assert summary.result["steps"] == 12 and summary.result["metrics"]["loss"] < 10
    (line,) = [line for line in lines if "one value per channel" in line]
    assert line.startswith("warning: ") and "backbone" in line and "--batch 2" in line
    train(tmp_path / "again", narrow(batch=1))
    assert equal(tmp_path / "one", tmp_path / "again")


def test_so_do_parts_of_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = changed(narrow(batch=4), optim={"accumulate": 4})
    summary, lines = said_of(recipe, tmp_path / "run", monkeypatch)
    assert summary.result["steps"] == 3
    assert len(lines) == 1 and "a smaller optim.accumulate" in lines[0]


def test_larger_batches_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, lines = said_of(narrow(batch=3), tmp_path / "run", monkeypatch)
    assert lines == []


def test_what_still_needs_more_values_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xfer.train.job.allow_lone_values", lambda *_: None)
    with pytest.raises(XferError, match=r"a batch of 1 .* one value only") as caught:
        train(tmp_path / "run", narrow(batch=1))
    assert caught.value.code == 2 and "--batch 2" in str(caught.value.hint)
