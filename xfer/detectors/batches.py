"""Batches of pictures with boxes: how they are collated, parted, shown, and boxes read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.data.loading.collate import stack_padded
from xfer.data.transforms.boxes import BoxItem
from xfer.detectors.contract import Found
from xfer.nn.views import View
from xfer.ops.boxes import clip
from xfer.ops.fixed import fixed, to_host
from xfer.types import Batch, BoxPrediction

MULTISCALE = (0.75, 1.0, 1.25)  # relative sizes of the view multiscale
# pixels processed together at test: VGG-16's first maps of this many take a gigabyte
MOST_PIXELS = 4 * 800 * 1344


def collate_boxes(items: Sequence[BoxItem], colour: Sequence[float]) -> Batch:
    """Pictures padded right and below to one size, with their boxes.

    Args: colour: of the padding, per channel, 0..255.

    Shapes: images uint8 (N, 3, H, W); targets:

    sizes       | int64 (N, 2)          | H, W of each picture in the batch, without padding
    originals   | float32 (N, 2)        | H, W of the picture itself
    boxes       | N float32 (R, 4)      | true boxes, xyxy in pixels of the images
    labels      | N int64 (R,)          | their classes
    crowds      | N float32 (M, 4)      | regions that are neither object nor background
    proposals   | N float32 (P, 4)      | absent where items have none
    annotations | N Annotation          | all boxes in the picture's own pixels, for the metric
    """
    targets: dict[str, Any] = {
        "sizes": torch.tensor([item.image.shape[:2] for item in items]),
        "originals": torch.tensor([item.size for item in items], dtype=torch.float32),
        "boxes": [torch.from_numpy(item.boxes) for item in items],
        "labels": [torch.from_numpy(item.labels) for item in items],
        "crowds": [torch.from_numpy(item.crowds) for item in items],
    }
    if items[0].proposals is not None:
        targets["proposals"] = [torch.from_numpy(item.proposals) for item in items]
    if items[0].annotation is not None:
        targets["annotations"] = [item.annotation for item in items]
    images = stack_padded([item.image for item in items], colour)
    return Batch(images, tuple(item.id for item in items), targets)


def parts_of(batch: Batch, most_pixels: int = 0) -> Iterator[Batch]:
    """The batch in parts of at most this many pixels (default MOST_PIXELS), at least one picture
    each. On a device it stays whole: what does not fit there is halved, see `Halved`."""
    if fixed(batch.images) and not most_pixels:
        yield batch
        return
    max_images = max(1, (most_pixels or MOST_PIXELS) // batch.images[0, 0].numel())
    if len(batch) <= max_images:
        yield batch
        return
    for n in range(0, len(batch), max_images):
        yield batch.part(n, min(n + max_images, len(batch)))


def views_of(images: Tensor, sizes: Tensor, tta: str, on_host: Tensor | None = None) -> list[View]:
    """The views of normalised pictures: none, flip or multiscale.

    Args: sizes: H, W of each picture; for multiscale the largest of the scales is given; on_host:
        the same on the CPU.
    """
    views = [View(images, sizes, on_host=on_host)]
    if tta == "multiscale":
        views = [views[0].scaled(s / max(MULTISCALE)) for s in MULTISCALE]
    if tta in ("flip", "multiscale"):
        views = [turned for view in views for turned in (view, view.mirrored())]
    return views


def to_pictures(found: Sequence[Found], batch: Batch) -> list[BoxPrediction]:
    """Detections in pixels of the batch as predictions in each picture's own pixels."""
    return predictions_of(to_host([tensor for one in found for tensor in one]), batch)


def predictions_of(arrays: Sequence[NDArray[Any]], batch: Batch) -> list[BoxPrediction]:
    """The same from boxes, scores and labels of each picture in turn, on the host."""
    predictions: list[BoxPrediction] = []
    sizes, originals = batch.read("sizes"), batch.read("originals")
    each = zip(batch.ids, sizes, originals, *(arrays[k::3] for k in range(3)), strict=True)
    for name, size, original, boxes, score, label in each:
        real = score >= 0  # what a device has filled up is not
        kept = torch.from_numpy(boxes[real]) * (original / size).flip(0).repeat(2)
        height, width = (int(v) for v in original.tolist())
        kept = clip(kept, original).numpy()
        predictions.append(BoxPrediction(name, kept, score[real], label[real], (height, width)))
    return predictions
