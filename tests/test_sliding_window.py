"""From scores to pixels: edges lie where the picture has them, in every view, window and batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tiny_nets import tiny
from torch import Tensor

from xfer import task as tasks
from xfer.nn import sliding_window
from xfer.recipe.tables import DataTable
from xfer.types import DataInfo, FeatureSpec, Sample

STRIDE = 4


def threshold(size: int, window: int = 256) -> Any:
    """A task that says `bright` where the mean of 4 x 4 pixels is above a half."""
    options = tasks.make_options(
        tasks.get("segment"),
        {"resize": size > 0, "window": window, "head": "fcn32s", "tail": "none"},
    )
    info = DataInfo("ramps", "segment", ("dark", "bright"))
    task: Any = tasks.get("segment")(tiny(), info, options, DataTable(size=size or 100)).eval()
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    half = float(task.backbone.normalise(ends)[:, 0].mean())

    def scores(images: Tensor, sizes: Tensor) -> Tensor:
        bright = F.avg_pool2d(images[:, :1].float() - half, STRIDE)
        return torch.cat([-bright, bright], 1)

    task.scores = scores
    task.head.specs = (FeatureSpec("mean", 2, STRIDE, STRIDE, (STRIDE - 1) / 2),)
    return task


def ramp(height: int, width: int, middle: float, axis: int) -> NDArray[np.uint8]:
    """Grey that rises by 200 over the picture along an axis, and passes 127.5 at `middle`."""
    side = (height, width)[axis]
    line = np.clip(127.5 + (np.arange(side) - middle) * (200 / side), 0, 255).round()
    grey = line[:, None] if axis == 0 else line[None]
    return np.ascontiguousarray(np.broadcast_to(grey[..., None], (height, width, 3)), np.uint8)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("tta", ["none", "flip", "multiscale"])
@pytest.mark.parametrize("size", [0, 51, 479])
def test_an_edge_is_said_where_the_picture_has_it(size: int, tta: str, axis: int) -> None:
    task = threshold(size)
    for height, width in ((300, 401), (97, 640), (600, 350)):
        middle = (height, width)[axis] * 0.4
        pictures = [Sample("a", ramp(height, width, middle, axis)),
                    Sample("b", np.zeros((height // 2, width + 37, 3), np.uint8))]  # fmt: skip
        rng = np.random.default_rng(0)
        batch = task.collate([task.transform(False)(each, rng) for each in pictures])
        mask = task.predict(batch, tta)[0].mask
        dark = (mask == 0).sum(axis)
        # the median: cells that look over the picture's edge, right or below, see padding
        step = (height, width)[axis] / 200  # pixels of equal grey
        assert abs(float(np.median(dark)) - middle) <= 0.5 + max(1, step / 2), (height, width)
        assert (np.diff(mask.astype(int), axis=axis) >= 0).all()


def test_windows_that_hold_nothing_of_a_small_picture_are_passed_over() -> None:
    task = threshold(0)
    sizes = ((40, 60), (64, 900), (700, 50), (300, 300))
    pictures = [Sample(str(n), ramp(*size, 25.2, 1)) for n, size in enumerate(sizes)]
    rng = np.random.default_rng(0)
    items = [task.transform(False)(each, rng) for each in pictures]
    found = task.predict(task.collate(items))
    for picture, item, said in zip(pictures, items, found, strict=True):
        assert said.mask.shape == picture.image.shape[:2]
        (alone,) = task.predict(task.collate([item]))
        assert np.array_equal(said.mask, alone.mask)


def test_a_few_pictures_are_looked_at_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    task = threshold(0)
    seen: list[int] = []
    real = task.scores
    task.scores = lambda images, sizes: (seen.append(images[:, 0].numel()), real(images, sizes))[1]
    rng = np.random.default_rng(0)
    items = [task.transform(False)(Sample(str(n), ramp(64, 96, 30 + n, 1)), rng) for n in range(7)]
    batch = task.collate(items)
    whole = task.predict(batch)
    monkeypatch.setattr(sliding_window, "MAX_PIXELS", 2 * 64 * 96)
    parts = task.predict(batch)
    assert seen == [7 * 64 * 96, *[2 * 64 * 96] * 3, 64 * 96]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(whole, parts, strict=True))
