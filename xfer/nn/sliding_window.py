"""The class of every pixel of a picture from score maps, in pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.nn.upsample import interpolate, reading
from xfer.nn.views import View
from xfer.ops.fixed import fixed, integers, to_host
from xfer.types import FeatureSpec

MAX_SCORES = 2**24  # held at a time
MAX_PIXELS = 2**22  # that the net sees in one pass: four windows of 1024
MULTIPLE = 32  # windows start at its multiples, where cells of the coarsest maps lie


@dataclass(frozen=True, slots=True)
class ScoreView:
    """Scores of one view of a batch.

    scores | float (N, C, h, w)
    view   | the pictures they were computed from
    """

    scores: Tensor
    view: View

    def rows(self, spec: FeatureSpec, places: Tensor, n: int) -> Tensor:
        """(P, h): the weights of the view's cells at these rows of picture n."""
        there = (places + 0.5) * self.view.factor[1] - 0.5
        return reading(spec, self.scores.shape[2], there, self.view.shown[n][0])

    def columns(self, spec: FeatureSpec, places: Tensor, n: int) -> Tensor:
        """(P, w): the same for its columns; it is mirrored within its own width."""
        width = self.view.shown[n][1]
        there = (places + 0.5) * self.view.factor[0] - 0.5
        if self.view.flipped:
            there = width - 1 - there
        return reading(spec, self.scores.shape[3], there, width)


def places_of(pixels: int, shown: int, device: torch.device | str = "cpu") -> Tensor:
    """float64 (pixels,): where a picture's rows (or columns) are in its version scaled to `shown`
    rows; pixel centres are at integers, edges on edges."""
    rows = torch.arange(pixels, dtype=torch.float64, device=device)
    return (rows + 0.5) * (shown / pixels) - 0.5


def best_classes(
    views: Sequence[ScoreView], spec: FeatureSpec, n: int, rows: Tensor, columns: Tensor
) -> Tensor:
    """The class of each pixel of picture n; with several views by mean probability.

    Args:
        views: of one batch; spec: geometry of their scores.
        rows, columns: positions in pixels of the batch, (H,) and (W,).

    Returns: uint8 (H, W).
    """
    rows, columns = rows.to(torch.float32), columns.to(torch.float32)
    across = [view.columns(spec, columns, n) for view in views]
    down = [view.rows(spec, rows, n) for view in views]
    classes = views[0].scores.shape[1]
    step = max(1, MAX_SCORES // (classes * len(columns)))
    class_map = rows.new_empty((len(rows), len(columns)), dtype=torch.uint8)
    for start in range(0, len(rows), step):
        total: Tensor | None = None
        for view, y, x in zip(views, down, across, strict=True):
            own = interpolate(view.scores[n : n + 1], y[start : start + step], x)[0]
            own = own.softmax(0) if len(views) > 1 else own
            total = own if total is None else total.add_(own)
        assert total is not None
        class_map[start : start + step] = total.max(0)[1]
    return class_map


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a picture's side that the net sees, and the part of it whose result is kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


def windows(side: int, window: int, margin: int, multiple: int) -> list[Window]:
    """Overlapping windows that cover a side; their kept parts cover it once.

    Args:
        side, window: pixels; margin: pixels at a window's edge whose result is used only at the
            picture's own edge; multiple: windows start at its multiples, so that a net's cells
            are where they would be in the whole picture.
    """
    if side <= window:
        return [Window(0, side, 0, side)]
    step = max(multiple, (window - 2 * margin) // multiple * multiple)
    covering: list[Window] = []
    start = kept_up_to = 0
    while kept_up_to < side:
        stop = min(side, start + window)
        keep_stop = side if stop == side else stop - margin
        covering.append(Window(start, stop, kept_up_to, keep_stop))
        kept_up_to = keep_stop
        start += step
    return covering


def classes_of_pixels(
    images: Tensor,
    sizes: Tensor,
    originals: Tensor,
    score: Callable[[Tensor, Tensor, Tensor], Sequence[ScoreView]],
    spec: FeatureSpec,
    window: int,
) -> list[NDArray[np.uint8]]:
    """The class of every pixel in the pictures' own sizes; window by window for large ones.

    Args:
        images: (N, 3, H, W), padded right and below; sizes: (N, 2), H, W without padding, on the
            CPU.
        originals: (N, 2), H and W of the pictures themselves, on the CPU.
        score: (a part of the images, the sizes within it, the same on the CPU) -> its views.
        spec: geometry of their scores; window: side, pixels of the batch.
    """
    window = window // MULTIPLE * MULTIPLE
    shown_sizes, original_sizes = sizes.tolist(), originals.tolist()
    places = [
        [places_of(size[axis], shown[axis]) for axis in (0, 1)]
        for size, shown in zip(original_sizes, shown_sizes, strict=True)
    ]
    device = images.device
    read_at = places  # the same on the device
    if fixed(images):
        read_at = [
            [places_of(size[axis], shown[axis], device) for axis in (0, 1)]
            for size, shown in zip(original_sizes, shown_sizes, strict=True)
        ]
    masks = [torch.empty(*size, dtype=torch.uint8, device=device) for size in original_sizes]
    for y in windows(images.shape[2], window, window // 8, MULTIPLE):
        for x in windows(images.shape[3], window, window // 8, MULTIPLE):
            kept = [(_kept(rows, y), _kept(columns, x)) for rows, columns in places]
            # pictures in a batch differ in size: a window may lie outside some
            there = [n for n, (down, across) in enumerate(kept) if _any(down) and _any(across)]
            per_pass = max(1, MAX_PIXELS // ((y.stop - y.start) * (x.stop - x.start)))
            for start in range(0, len(there), per_pass):
                chosen = there[start : start + per_pass]
                part = _part(images, chosen, y, x)
                inside = sizes[chosen] - sizes.new_tensor([y.start, x.start])
                inside = inside.minimum(inside.new_tensor(part.shape[2:]))
                views = score(part, integers(inside, device), inside)
                for k, n in enumerate(chosen):
                    (rows, columns), (down, across) = read_at[n], kept[n]
                    masks[n][down, across] = best_classes(
                        views, spec, k, rows[down] - y.start, columns[across] - x.start
                    )
    return to_host(masks)


def _part(images: Tensor, chosen: Sequence[int], y: Window, x: Window) -> Tensor:
    """A window of some pictures of a batch; the batch itself if that is all of it."""
    whole = (0, images.shape[2], 0, images.shape[3])
    if len(chosen) == len(images) and (y.start, y.stop, x.start, x.stop) == whole:
        return images
    parts = [images[n : n + 1, :, y.start : y.stop, x.start : x.stop] for n in chosen]
    return torch.cat(parts)


def _kept(places: Tensor, window: Window) -> slice:
    """The picture's rows or columns in the kept part of a window of the batch."""
    ends = [window.keep_start - 0.5, window.keep_stop - 0.5]
    first, last = np.searchsorted(places.numpy(), ends)
    return slice(int(first), int(last))


def _any(part: slice) -> bool:
    return part.stop > part.start
