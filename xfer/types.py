"""The data types shared by everything else: frozen dataclasses, no torch at import time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from xfer.boxes import Boxes
    from xfer.objects.segments import Segments

UNLABELLED = -1
IGNORE = 255  # of a mask
LARGEST_SIDE = 4096  # pixels on a side of what a net is shown


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """The geometry of one feature map.

    Cell (i, j) of the map sees a square of `receptive_field` input pixels, centred at
    `offset + stride * (i, j)`. Pixel centres are at whole numbers, so an offset may end in .5.

    name            | str   | conv1 ... conv5, pool5, or the net's own
    channels        | int   | depth of the map
    stride          | int   | input pixels between neighbouring cells
    receptive_field | int   | side of the square that one cell sees, input pixels
    offset          | float | input pixel under the centre of cell (0, 0)
    """

    name: str
    channels: int
    stride: int
    receptive_field: int
    offset: float


@dataclass(frozen=True, slots=True)
class Preprocess:
    """The input a backbone expects: `(pixel * scale - mean) / std`, in its channel order.

    mean, std | 3 floats, in the units of `pixel * scale` and in `channels` order
    channels  | "rgb" or "bgr"
    scale     | 1/255 for nets that take 0..1, 1 for Caffe's
    size      | side of the square crop in evaluation, pixels
    resize    | short side before that crop, pixels
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1 / 255
    size: int = 224
    resize: int = 256

    def at(self, size: int) -> Preprocess:
        """The same at another input size; the short side before the crop scales with it."""
        return replace(self, size=size, resize=round(self.resize * size / self.size))


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture and what is known about it.

    id    | str              | stable within the set: path relative to its root, or a number
    image | uint8 (H, W, 3)  | RGB, upright (EXIF orientation applied)
    label | int or (C,) int8 | class index; multi-label: 1 yes, 0 no, -1 unknown;
          |                  | or whatever your own kind of data knows about a picture
    boxes | Boxes            | in the picture's pixels; None: unknown, as opposed to no boxes
    mask  | uint8 (H, W)     | class index per pixel, 255 = ignore
    segments | Segments      | objects and regions that do not overlap, and void
    """

    id: str
    image: NDArray[np.uint8]
    label: Any = None
    boxes: Boxes | None = None
    mask: NDArray[np.uint8] | None = None
    segments: Segments | None = None


@dataclass(frozen=True, slots=True)
class DataInfo:
    """What a data source contains.

    name    | what the user called it
    kind    | what is known about a picture, the name of an `xfer.kinds.Kind`: classify,
            | multilabel, detect, instance, segment, images (nothing), or your own
            | multilabel, detect, segment, panoptic, images (nothing), or your own
    classes | class names; a label is an index into them; () where there are none
    split   | train, val, test, or all
    licence | as stated by the source, or ""
    things  | panoptic: names of the classes whose objects are told apart; the others are stuff
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    split: str = "all"
    licence: str = ""
    things: tuple[str, ...] = ()


@runtime_checkable
class Source(Protocol):
    """Pictures with labels, by index. Anything of this shape can be given as `data`.

    info          | DataInfo: name, kind, classes, split
    ids           | N names, unique and stable, used by predictions and split.json
    len(source)   | N
    source[i]     | Sample: decodes picture i; DataError if it can't be decoded
    labels()      | depends on the kind. classify: int64 (N,), -1 unlabelled; multilabel: int8
                  | (N, C), 1 yes, 0 no, -1 unknown;
                  | boxes and masks: int8 (N, C), 1 if the class occurs in the picture, -1 if
                  | only reading the mask would tell; reads no picture
    fingerprint() | hex text that changes with the ids, the labels or the files; cheap

    A source can be pickled, and read from several threads at once. `xfer.testing.check_source`
    checks all this. Eight methods are optional: `read(i, short_side)`, source[i] decoded no larger
    than that short side; `read_rows(i, short_side, rows)`, the same if only the first
    rows(height, width) of its rows are needed; `verify(i)`, called before training instead of
    source[i] to raise DataError for a picture that can't be decoded; `stamp(i)`, text that changes
    with its file; `path(i)`, its file, None if it is not a file of its own; `raw(i)`, its bytes as
    they are stored; `stored()`, the indices in the order in which the pictures lie on disk; and
    `annotation(i)`, the Boxes read without decoding the picture (sources with boxes).
    """

    @property
    def info(self) -> DataInfo: ...
    @property
    def ids(self) -> Sequence[str]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, i: int, /) -> Sample: ...
    def labels(self) -> NDArray[np.int64] | NDArray[np.int8]: ...
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What a loader passes to a task.

    images  | uint8 (N, 3, H, W), channels_last, RGB 0..255 (the task normalises on the device)
    ids     | N sample ids
    targets | what the task's collate put there: tensors, or lists of tensors
    on_host | the targets as they were before they were copied to a device, None if they were not:
            | a number that is read from them does not make the host wait for the device
    """

    images: torch.Tensor
    ids: tuple[str, ...]
    targets: dict[str, Any] = field(default_factory=dict[str, Any])
    on_host: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def pin_memory(self) -> Batch:
        """The same batch in pinned memory, from which a GPU copies without the host's waiting."""

        def pin(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return [pin(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
            return value.pin_memory() if hasattr(value, "pin_memory") else value

        targets = {key: pin(value) for key, value in self.targets.items()}
        return replace(self, images=pin(self.images), targets=targets)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """The same batch with every tensor on `device` (copies overlap if memory is pinned)."""

        def move(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return [move(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
            return value.to(device, non_blocking=non_blocking) if hasattr(value, "to") else value

        moved = {key: move(value) for key, value in self.targets.items()}
        host = self.targets if self.on_host is None else self.on_host
        return replace(self, images=move(self.images), targets=moved, on_host=host)

    def read(self, name: str) -> torch.Tensor:
        """A target as it is on the host."""
        return (self.targets if self.on_host is None else self.on_host)[name].cpu()

    def tensors(self) -> Iterator[torch.Tensor]:
        """Every tensor of the batch."""
        todo: list[Any] = [self.images, *self.targets.values()]
        while todo:
            value = todo.pop()
            if isinstance(value, (list, tuple)):
                todo += value
            elif hasattr(value, "record_stream"):
                yield value

    def part(self, start: int, stop: int) -> Batch:
        """The pictures from `start` to `stop`: their images, which may be several views of each,
        ids and targets."""
        count = len(self)
        views = len(self.images) // max(1, count)

        def cut(value: Any) -> Any:
            return value[start:stop] if hasattr(value, "__len__") and len(value) == count else value

        targets = {key: cut(value) for key, value in self.targets.items()}
        host = self.on_host and {key: cut(value) for key, value in self.on_host.items()}
        return Batch(self.images[start * views : stop * views], self.ids[start:stop], targets, host)


@dataclass(frozen=True, slots=True)
class ClassPrediction:
    """A classifier's prediction for one picture.

    id     | sample id or path
    scores | float32 (C,), probabilities: softmax, or one sigmoid per class if multi-label
    """

    id: str
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BoxPrediction:
    """A detector's prediction for one picture.

    id     | sample id or path
    boxes  | float32 (R, 4), xyxy in the picture's own pixels, right and bottom exclusive
    scores | float32 (R,), 0..1, descending
    labels | int64 (R,), class indices
    size   | (H, W) of the picture
    """

    id: str
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    size: tuple[int, int]

    def row(self, classes: Sequence[str]) -> dict[str, Any]:
        """As plain values: {"id", "boxes": [{"label", "score", "box": [x1, y1, x2, y2]}, ...]}.

        Pixels are rounded to hundredths; a task's `describe` returns this.
        """
        columns = zip(self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True)
        boxes = [
            {"label": classes[c], "score": round(score, 6), "box": [round(v, 2) for v in box]}
            for c, score, box in columns
        ]
        return {"id": self.id, "boxes": boxes}


@dataclass(frozen=True, slots=True)
class MaskPrediction:
    """A segmentation model's prediction for one picture.

    id     | sample id or path
    mask   | uint8 (H, W), class indices
    size   | (H, W) of the picture
    scores | float32 (H, W), probability of the predicted class, 0..1; None if not requested
    """

    id: str
    mask: NDArray[np.uint8]
    size: tuple[int, int]
    scores: NDArray[np.float32] | None = None

    def shares(self, classes: Sequence[str]) -> dict[str, float]:
        """The fraction of the picture that each class covers, 0..1."""
        import numpy

        counts = numpy.bincount(self.mask.ravel(), minlength=256)[: len(classes)]
        size = max(1, self.mask.size)
        return {name: int(n) / size for name, n in zip(classes, counts, strict=True)}


@dataclass(frozen=True, slots=True)
class InstancePrediction(BoxPrediction):
    """A prediction of objects with their outlines for one picture: boxes, and beside them

    masks  | object (R,) of `xfer.objects.mask.ObjectMask`, in the picture's own pixels
    """

    masks: NDArray[np.object_]

    def row(self, classes: Sequence[str]) -> dict[str, Any]:
        """As for boxes, each with its "segmentation", COCO's {"size": [H, W], "counts": text}."""
        # not super(): dataclasses with slots are made twice, and it would name the first
        row = BoxPrediction.row(self, classes)
        for box, mask in zip(row["boxes"], self.masks.tolist(), strict=True):
            box["segmentation"] = mask.as_json()
        return row


@dataclass(frozen=True, slots=True)
class PanopticPrediction:
    """A panoptic model's prediction for one picture.

    id       | sample id or path
    segments | Segments in the picture's own size; the map is VOID where nothing is predicted
    scores   | float32 (S,), 0..1: how sure each segment is
    """

    id: str
    segments: Segments
    scores: NDArray[np.float32]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        return self.segments.size
