"""Heat maps of a prediction: Grad-CAM, and occlusion, which asks the net itself.

Grad-CAM | the deepest map's channels, weighted by the mean gradient of the score (Selvaraju et al.
         | 2017, sec. 3); for a class in a segmentation the score is the mean over the pixels
         | predicted as it (Seg-Grad-CAM, Vinogradova et al. 2020), for a detection that of its box
occlusion| how much the score falls if a grey square hides a place (Zeiler, Fergus 2014, sec. 4.2)

Both show where the score comes from, not whether it is right. Grad-CAM is one pass and is smooth;
occlusion is many passes, and takes nothing from the net's inside: where both agree, trust grows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.backbones.base import Backbone
from xfer.data.images.decode import decode, shrink
from xfer.data.images.from_memory import given_picture
from xfer.errors import XferError, nearest
from xfer.explain.contract import Explains, Shown, Target
from xfer.task import Task
from xfer.types import Batch, Sample

Method = Literal["grad_cam", "occlusion"]
Heat = NDArray[np.float32]
METHODS = ("grad_cam", "occlusion")
SHARE = 6  # a hidden square's side is this part of the shorter side
AT_ONCE = 32  # pictures with a hidden square


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a score comes from.

    heat      | float32 (H, W), 0..1, in the picture's own pixels; 0 where the net saw nothing
    method    | grad_cam or occlusion
    label     | the name of the class
    target    | what was explained
    agreement | correlation of the maps of both methods, -1..1; None if it was not asked for, or a
              | map is the same everywhere
    image     | uint8 (H, W, 3)
    """

    heat: Heat
    method: Method
    label: str
    target: Target
    agreement: float | None
    image: NDArray[np.uint8]

    def draw(self, path: Path | str) -> Path:
        """Writes the picture with the map on it, and its label below."""
        from xfer.drawing.heat import draw_heat

        names = ["Grad-CAM", "occlusion"]
        name, other = names if self.method == "grad_cam" else names[::-1]
        agrees = "" if self.agreement is None else f" ({other}: r = {self.agreement:.2f})"
        title = f"{name}: {self.label}{agrees}"
        draw_heat(self.image, self.heat, title, Path(path), self.target.box)
        return Path(path)


def grad_cam(model: Any, image: Any, label: str | int | None = None) -> Heat:
    """The Grad-CAM of a picture, float32 (H, W) in 0..1; see `explain`."""
    return explain(model, image, label).heat


def occlusion(model: Any, image: Any, label: str | int | None = None) -> Heat:
    """The occlusion map of a picture, float32 (H, W) in 0..1; see `explain`."""
    return explain(model, image, label, "occlusion").heat


def explain(
    model: Any, image: Any, label: str | int | None = None, method: str = "grad_cam",
    check: bool = False,
) -> Explanation:  # fmt: skip
    """Where a model found a class in a picture.

    Args:
        model: of `xfer.load`, or a task.
        image: a path, or a picture in memory as `predict` takes it.
        label: a class by name or index; None: the one that is predicted.
        method: grad_cam or occlusion.
        check: compute the other map as well, and how far both agree; 150 passes.

    Raises: XferError for an unknown class or method, and for a task that can't be explained;
        DataError for a picture that can't be read.
    """
    if method not in METHODS:
        raise XferError(f"unknown method {method!r}", f"choose from {', '.join(METHODS)}")
    task = check_explains(getattr(model, "task", model))
    assert isinstance(task, Task)
    index = _index(task, label)
    pixels = decode(Path(image)) if isinstance(image, (str, Path)) else given_picture(image, 0)
    height, width = pixels.shape[:2]
    sample = Sample("picture", shrink(pixels, task.short_side))
    item = task.transform(False)(sample, np.random.default_rng(0))
    device = next(task.parameters()).device
    was_training = task.training
    task.eval()
    try:
        batch = task.collate([item]).to(device)
        target = task.target_of(task.predict(batch)[0], index)
        shown = task.shown(batch, *sample.image.shape[:2])
        both: dict[str, Heat] = {}
        if check or method == "grad_cam":
            both["grad_cam"] = _grad_cam(task, batch, target, shown, height, width)
        if check or method == "occlusion":
            copies = task.collate([item] * AT_ONCE).to(device)
            both["occlusion"] = _occlusion(task, copies, target, shown, height, width)
    finally:
        task.train(was_training)
    chosen: Any = method
    agreement = _agreement(both["grad_cam"], both["occlusion"], shown) if check else None
    names = task.info.classes
    return Explanation(both[method], chosen, names[target.label], target, agreement, pixels)


def check_explains(task: Any) -> Explains:
    """The task. Raises XferError if it can't be explained."""
    if isinstance(task, Explains):
        return task
    raise XferError(
        f"{type(task).__name__} can't be explained: it does not say what its scores are",
        "xfer.explain.contract.Explains is what a task needs for it",
    )


def _index(task: Task, label: str | int | None) -> int | None:
    names = task.info.classes
    if label is None or (isinstance(label, int) and 0 <= label < len(names)):
        return label
    if label in names:
        return names.index(str(label))
    raise XferError(f"no class {label!r}", nearest(str(label), names))


@contextlib.contextmanager
def _recorded(backbone: Backbone) -> Iterator[dict[str, Tensor]]:
    """Context in which the deepest map of each pass of a backbone is kept, by its name."""
    seen: dict[str, Tensor] = {}
    inner = backbone.forward

    def forward(images: Tensor, want: Any) -> dict[str, Tensor]:
        names = [want] if isinstance(want, str) else list(want)
        maps = [name for name in backbone.map_names if name in names]
        deepest = backbone.last if len(maps) < len(set(names)) else maps[-1]
        # frozen nets too pass gradients from the map on, if their input has one
        outputs = inner(images.detach().requires_grad_(), want=[*names, deepest])
        seen.clear()
        seen[deepest] = outputs[deepest]
        return {name: outputs[name] for name in names}

    backbone.__dict__["forward"] = forward
    try:
        yield seen
    finally:
        del backbone.__dict__["forward"]


def _grad_cam(
    task: Any, batch: Batch, target: Target, shown: Shown, height: int, width: int
) -> Heat:
    with torch.enable_grad(), _recorded(task.backbone) as seen:
        score = task.score_of(batch, target)
        ((name, maps),) = seen.items()
        (slopes,) = torch.autograd.grad(score.sum(), maps, allow_unused=True)
    if slopes is None:
        raise XferError(f"the score does not depend on {name}, whose map is drawn")
    weights = slopes.float().mean((2, 3), keepdim=True)
    cam = (weights * maps.detach().float()).sum(1).clamp(min=0)[0].cpu().numpy()
    spec = task.backbone.specs[name]
    return _placed(cam, shown, height, width, spec.offset, spec.stride)


def _placed(
    values: NDArray[Any], shown: Shown, height: int, width: int, offset: float = 0, stride: int = 1
) -> Heat:
    """A map as a picture of height x width pixels, by the map's geometry.

    Args: offset, stride: of the map's cells, pixels of the batch.
    """
    left, top, right, bottom = shown.part
    rows = (_inside(height, top, bottom, shown.size[0]) - offset) / stride
    columns = (_inside(width, left, right, shown.size[1]) - offset) / stride
    x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    cells = np.asarray(values, np.float32)
    heat = cv2.remap(cells, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return _normal(np.asarray(heat, np.float32), shown)


def _inside(count: int, start: float, stop: float, side: int) -> NDArray[np.float64]:
    """The place of each pixel of a picture's side in what is shown, pixels of the batch."""
    place = (np.arange(count) + 0.5) / count
    return (place - start) / (stop - start) * side - 0.5


@torch.no_grad()
def _occlusion(
    task: Any, copies: Batch, target: Target, shown: Shown, height: int, width: int
) -> Heat:
    """Args: copies: AT_ONCE times the same picture."""
    h, w = shown.size
    side = max(1, min(h, w) // SHARE)
    step = max(1, side // 2)
    colour = torch.tensor(task.backbone.mean_colour).round().to(copies.images)[:, None, None]
    whole = float(task.score_of(copies.part(0, 1), target)[0])
    tops, lefts = (range(0, max(1, n - side + step), step) for n in (h, w))
    places = [(y, x) for y in tops for x in lefts]
    total, count = np.zeros((h, w)), np.zeros((h, w))
    for start in range(0, len(places), AT_ONCE):
        chosen = places[start : start + AT_ONCE]
        part = copies.part(0, len(chosen))
        images = part.images.clone()
        for picture, (y, x) in zip(images, chosen, strict=True):
            picture[:, y : min(h, y + side), x : min(w, x + side)] = colour
        scores = task.score_of(replace(part, images=images), target).float().tolist()
        for score, (y, x) in zip(scores, chosen, strict=True):
            total[y : y + side, x : x + side] += whole - score
            count[y : y + side, x : x + side] += 1
    return _placed(np.maximum(total / np.maximum(count, 1), 0), shown, height, width)


def _normal(heat: Heat, shown: Shown) -> Heat:
    """The map in 0..1, and 0 outside of what the net saw."""
    inside = np.zeros_like(heat)
    part = _part(heat, shown)
    inside[part] = heat[part]
    return inside / max(float(inside.max()), 1e-12)


def _part(heat: Heat, shown: Shown) -> tuple[slice, slice]:
    height, width = heat.shape
    left, top, right, bottom = shown.part
    return (slice(max(0, round(top * height)), round(bottom * height)),
            slice(max(0, round(left * width)), round(right * width)))  # fmt: skip


def _agreement(one: Heat, other: Heat, shown: Shown) -> float | None:
    part = _part(one, shown)
    a, b = one[part].ravel(), other[part].ravel()
    if a.std() < 1e-6 or b.std() < 1e-6:
        return None
    return float(np.corrcoef(a, b)[0, 1])
