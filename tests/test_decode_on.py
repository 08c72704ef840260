"""JPEGs of a pack decoded on the device (data.decode), here a processor: nvJPEG is unmeasured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_crop_on import next_batches, packed, recipe
from test_loop import CPU, Stopped, die, equal, stop_at, train

from xfer.data.transforms import device_crops as whole
from xfer.data.transforms import device_decode as coded
from xfer.errors import DataError, XferError
from xfer.nn.jpeg import decode_squares
from xfer.recipe.data import open_recipe_data
from xfer.train.job import Job
from xfer.train.loop import fit


def job(folder: Path, **data: Any) -> Job:
    asked = recipe(folder, decode="device", **data)
    return Job(asked, CPU, open_recipe_data(asked))


@pytest.fixture
def any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision decodes on a processor with the same call."""
    real = coded.check_decode
    monkeypatch.setattr(whole, "check_decode", lambda data, train, gpu: real(data, train, True))


def test_without_a_gpu_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(XferError, match=r"data\.decode=device needs a CUDA GPU") as caught:
        job(packed(tmp_path / "p", raw=False))
    assert caught.value.code == 2


@pytest.mark.usefixtures("any_device")
@pytest.mark.parametrize(
    ("raw", "data", "named"),
    [
        (True, {}, "reads JPEG packs"),
        (False, {"crop_on": "host"}, "also cuts crops on the device"),
        (False, {"augment": "strong"}, "light and standard, not strong"),
    ],
)
def test_what_it_does_not_go_with_is_refused(
    raw: bool, data: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(XferError, match=named):
        job(packed(tmp_path / "p", raw=raw), **data)


@pytest.mark.usefixtures("any_device")
@pytest.mark.parametrize("sizes", [(48,), (40, 60, 48)], ids=["one size", "several"])
def test_the_device_sees_what_the_host_would_have_decoded(
    sizes: tuple[int, ...], tmp_path: Path
) -> None:
    folder = packed(tmp_path / "p", raw=False, sizes=sizes)
    asked = recipe(folder)
    host = Job(asked, CPU, open_recipe_data(asked))
    running = job(folder)
    for ours, theirs in zip(next_batches(running, 3), next_batches(host, 3), strict=True):
        assert ours.ids == theirs.ids and ours.images.numel() == 0
        assert torch.equal(ours.targets["draws"], theirs.targets["draws"])
        assert torch.equal(ours.targets["label"], theirs.targets["label"])
        task: Any = running.task
        crops = task._cropped(ours)
        assert (crops - task._cropped(theirs)).abs().mean() < 3  # two decoders, two resizers
        part = ours.part(4, 9)
        assert torch.allclose(task._cropped(part), crops[4:9], atol=1e-3)


@pytest.mark.usefixtures("any_device")
def test_a_run_that_died_resumes_to_equal_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(packed(tmp_path / "p", raw=False), decode="device")
    done = train(tmp_path / "a", asked)
    assert done.result["metrics"]["top1"] > 0.3  # scored on pictures that the host decoded
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(8, patch, die)
        train(tmp_path / "b", asked)
    fit(resume=tmp_path / "b", verbosity=-1)
    assert equal(tmp_path / "a", tmp_path / "b")


def test_a_file_that_is_no_jpeg_is_named() -> None:
    files = [np.frombuffer(b"\xff\xd8 no picture", np.uint8)]
    places = np.zeros((1, 2))
    with pytest.raises(DataError, match=r"a/b\.jpg: can't be decoded"):
        decode_squares(files, ["a/b.jpg"], places, (8, 8), torch.device("cpu"))
