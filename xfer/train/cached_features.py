"""A head on a frozen backbone: the net sees each view once, then training reads from memory.

The views are those that the first K epochs would have drawn; epoch e uses the views of epoch
e mod K. Vectors are also kept in the feature cache: another run on the same pictures, with the same
weights and seed, computes nothing.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.data.loading.feature_loader import FeatureLoader
from xfer.data.streams.stream_loader import StreamLoader
from xfer.device import Place, gather
from xfer.extraction.cache import FeatureCache, cache_file, limit_bytes
from xfer.extraction.net import VERSION, digest_of
from xfer.extraction.stream import parts
from xfer.task import CachedFeatures, Task
from xfer.types import Source

if TYPE_CHECKING:
    from xfer.train.job import Job

MOST_VIEWS = 8
# keys of [data] that choose pictures, or how they are read: they do not change a view
_NOT_SEEN = ("source", "images", "ignore", "path", "label", "split", "changes", "split_seed",
             "train", "val", "test", "limit", "skip_bad", "verify", "batch", "workers", "balance",
             "window", "cache_mb")  # fmt: skip


@dataclass
class HeadInput:
    """The task without its head, as a net for `xfer.extraction.stream`.

    Args:
        train, tta: which views are cut; marks: text that changes with everything a vector depends
            on except the picture.
    """

    task: Task
    head: CachedFeatures
    job: Job
    train: bool
    tta: str
    marks: str
    layers: tuple[str, ...] = ("head",)

    @property
    def place(self) -> Place:
        return self.job.place

    @property
    def views(self) -> int:
        return 10 if self.tta == "10crop" and not self.train else 1

    @property
    def side(self) -> int:
        return self.task.preprocess.size

    @property
    def short_side(self) -> int:
        return self.task.short_side

    def transform(self) -> Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]:
        return self.head.pixels(self.train, self.tta)

    def signature(self, layer: str) -> bytes:
        return hashlib.sha256(self.marks.encode()).digest()

    @torch.no_grad()  # the net may train later, with what it keeps of a pass
    def __call__(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        """uint8 (N * views, 3, H, W) -> {"head": float32 (N, views * D)}; mirrored views last."""
        place = self.job.place
        images = place.send(images)
        with place.autocast():
            vectors = self.head.head_input(images)
            if self.tta == "flip" and not self.train:
                vectors = torch.stack((vectors, self.head.head_input(images.flip(-1))), 1)
        return {"head": vectors.float().reshape(len(images) // self.views, -1).cpu().numpy()}


def keep_features(job: Job, say: Callable[[str], None]) -> None:
    """If only the head trains, runs each picture's views through the net once.

    Args: say: called with how many views are kept, or why none are.
    Raises: DataError for a picture that can't be read.
    """
    task = job.task
    if job.recipe.optim.freeze != "all" or not job.recipe.data.cache_mb:
        return
    if not isinstance(task, CachedFeatures) or not task.head_width:
        return
    if isinstance(job.train, StreamLoader):
        return  # its pictures have no numbers under which vectors could be kept
    if frozen_views(job, task.head_width)[0] < 1:
        say("backbone frozen, but its features don't fit into data.cache_mb: they are recomputed "
            "every epoch")  # fmt: skip
        return
    start = time.perf_counter()
    job.train, job.quick_val = frozen_loaders(job, task, say)
    job.preparing = time.perf_counter() - start


def frozen_views(job: Job, width: int) -> tuple[int, bool]:
    """How many epochs' views are kept: one per epoch, at most MOST_VIEWS, within data.cache_mb;
    and whether val's vectors fit as well. 0 if not even one view fits.

    Args: width: length of the vector that the head reads.
    """
    splits, room = job.bundle.splits, job.recipe.data.cache_mb << 20
    vector = width * (2 if job.place.precision == "bf16" else 4)
    size = max(1, len(splits["train"]) * vector)
    val_views = {"flip": 2, "10crop": 10}.get(job.quick_tta, 1)
    val = len(splits["val"]) * val_views * vector if "val" in splits else 0
    keeps_val = "val" in splits and size + val <= room
    epochs = math.ceil(job.steps / max(1, job.epoch_steps))
    return min(epochs, MOST_VIEWS, (room - val * keeps_val) // size), keeps_val


def frozen_loaders(
    job: Job, head: CachedFeatures, say: Callable[[str], None]
) -> tuple[FeatureLoader, FeatureLoader | None]:
    """Loaders for training and, if there is a val split that also fits into data.cache_mb, for the
    evaluations during training.

    Raises: DataError for a picture that can't be read.
    """
    digest = _marks_of_net(job, head)
    train = job.bundle.splits["train"]
    views, keeps_val = frozen_views(job, head.head_width)
    cache = FeatureCache(cache_file(), limit_bytes(), lambda text: say(f"warning: {text}"))
    try:
        rows: list[Tensor] = []
        computed = 0
        for view in range(views):
            marks = f"{digest} {_cutting(job)} {view}"
            rows.append(torch.empty(0))
            rows[view], new = _rows(job, head, train, marks, True, "", view, cache)
            computed += new
        say(
            f"backbone frozen: {views} view{'s' * (views != 1)} of each of {len(train)} pictures, "
            f"{head.head_width} numbers each, are kept in memory ({computed} computed, "
            f"{views * len(train) - computed} from the cache)"
        )
        train_loader = FeatureLoader(job.loader("train", training=True), rows, _labels(train))
        if not keeps_val:
            return train_loader, None
        val, tta = job.bundle.splits["val"], job.quick_tta
        val_rows, _ = _rows(
            job, head, val, f"{digest} {job.recipe.data.size} {tta}", False, tta, 0, cache
        )
    finally:
        cache.close()
    return train_loader, FeatureLoader(job.loader("val", tta=tta), [val_rows], _labels(val))


def _marks_of_net(job: Job, head: CachedFeatures) -> str:
    """Text that changes with the net, its weights, its options, and what the head reads from it.

    Weights alone are not enough: bvlc_alexnet runs those of caffenet in another order, and a head
    may read another map, or the same one pooled.
    """
    recipe, task = job.recipe, job.task
    options = sorted(dict(recipe.backbone_options).items())
    return (
        f"{VERSION} {recipe.backbone} {options} {digest_of(task.backbone.state_dict())} "
        f"{recipe.task} {head.head_reads} {task.preprocess} {task.short_side}"
    )


def _cutting(job: Job) -> str:
    """The [data] settings that a training view depends on, besides picture, position and seed."""
    table = asdict(job.recipe.data)
    return str({key: value for key, value in table.items() if key not in _NOT_SEEN})


def _rows(
    job: Job, head: CachedFeatures, source: Source, marks: str, train: bool, tta: str, epoch: int,
    cache: FeatureCache,
) -> tuple[Tensor, int]:  # fmt: skip
    """Vectors (pictures, V, D) in the run's precision, and how many of them were computed."""
    place = job.place
    net = HeadInput(
        job.task, head, job, train, tta, f"{marks} {place.precision} {place.device.type}"
    )
    width = head.head_width
    dtype = torch.bfloat16 if place.precision == "bf16" else torch.float32
    mine: list[tuple[NDArray[np.int64], Tensor]] = []
    computed = 0
    was_training = job.task.training
    job.task.eval()
    try:
        for part in parts(
            source, net, cache, batch=job.eval_batch(tta), workers=job.recipe.data.workers,
            rank=place.rank, world=place.world,
            seed=job.recipe.run.seed if train else None, epoch=epoch,
        ):  # fmt: skip
            values = torch.from_numpy(part.layers["head"]).to(dtype)
            mine.append((part.rows, values.view(len(values), -1, width)))
            computed += part.computed
    finally:
        job.task.train(was_training)
    shares = gather((mine, computed), place)
    vectors: Tensor | None = None
    for share, _ in shares:
        for index, values in share:
            if vectors is None:
                vectors = torch.empty((len(source), *values.shape[1:]), dtype=dtype)
            vectors[torch.from_numpy(index)] = values
    assert vectors is not None
    return vectors, sum(count for _, count in shares)


def _labels(source: Source) -> Tensor:
    labels: Any = source.labels()
    return torch.from_numpy(np.array(labels, np.float32 if labels.ndim == 2 else np.int64))
