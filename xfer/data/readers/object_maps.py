"""Sources of pictures with files whose pixels hold the number of their object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from xfer.boxes import Boxes
from xfer.data.images.threads import cores
from xfer.data.images.walk import readable
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.instances import InstanceSource, outlined
from xfer.errors import DataError
from xfer.objects.mask import ObjectMask
from xfer.objects.rle import areas, boxes_around
from xfer.types import DataInfo


def object_boxes(masks: Sequence[ObjectMask], labels: Sequence[int], crowd: Sequence[bool],
                 size: tuple[int, int]) -> Boxes:  # fmt: skip
    """Objects of which only the masks are known: boxes around these, areas of their pixels."""
    return Boxes.of(
        boxes_around(masks), np.asarray(labels, np.int64), crowd=crowd, area=areas(masks),
        size=size, masks=masks,
    )  # fmt: skip


def map_source(
    info: DataInfo,
    root: Path,
    files: Sequence[str],
    read: Callable[[int], Boxes],
    options: ReadOptions,
    reading: Reading,
    ids: Sequence[str] | None = None,
) -> InstanceSource:
    """The source of one split: every file of numbers is read now, in a thread per core.

    Args:
        files: of the pictures; read: the objects of one, with masks and the size of these.

    Raises: DataError naming the files that can't be read, unless they may be left out, and if no
        object is left.
    """

    def look(i: int) -> Boxes | str:
        try:
            return read(i)
        except DataError as error:
            return str(getattr(error, "reason", error.message))

    with ThreadPoolExecutor(cores()) as pool:
        looked = list(pool.map(look, range(len(files))))
    bad = [(readable(files[i]), one) for i, one in enumerate(looked) if isinstance(one, str)]
    leave_out(f"{root}, {info.split}", "pictures have masks that can't be read", bad,
              options.skip_bad, reading.skipped)  # fmt: skip
    kept = [i for i, one in enumerate(looked) if not isinstance(one, str)]
    own = [one for one in looked if not isinstance(one, str)]
    boxes = Boxes.join(own)
    if not len(boxes):
        raise DataError(f"{root}, {info.split}: its masks hold no object")
    assert boxes.masks is not None
    picture = np.repeat(np.arange(len(own)), [len(one) for one in own])
    sizes = np.array([one.size for one in own], np.int64).reshape(-1, 2)
    objects = outlined(picture, boxes, boxes.masks.tolist(), sizes)
    names = None if ids is None else [ids[i] for i in kept]
    return InstanceSource(info, root, [files[i] for i in kept], objects, names)
