"""Data from Python as sources: pairs, arrays, and torchvision-style data sets.

| data | |
|--|--|
| a Source | used unchanged |
| [(picture, label), ...] | pictures: paths, PIL images, arrays, tensors, encoded bytes |
| [picture, ...] | without labels |
| (images, labels) | images (N, H, W, 3), (N, H, W), tensors (N, 3, H, W), or a list of pictures |
| a map data set | data[i] -> (picture, label), len(data), and data.classes if it has them |
| {"train": ..., "val": ...} | any of these by the name of the split (see `xfer.data.spec`) |

Labels are texts, whose classes are sorted, or whole numbers: indices into the data set's classes,
or, without these, classes named by their numbers. None and -1 mean no label. An array of labels
(N, C) of 1, 0 and -1 (unknown) means several labels per picture.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import decode, shrink
from xfer.data.images.from_memory import given_picture, is_one, is_tensor
from xfer.data.images.walk import readable
from xfer.data.sources import door
from xfer.data.sources.base import Source, sample_label
from xfer.data.sources.files import FileSource
from xfer.errors import DataError, XferError
from xfer.types import DataInfo, Sample

SCHEME = "python"  # prefix of the name of such data in a recipe: python:ImageFolder
FORMS = (
    "a spec, a Source, [(picture, label), ...], (images, labels), a data set of (picture, label) "
    "with a length, or a dict of these by split"
)
MAX_SAMPLED = 64  # pictures of a data set that its fingerprint reads


def python_name(data: Any) -> str:
    """The name of data from Python in a recipe: python:ImageFolder."""
    while isinstance(data, Mapping) and data:
        data = next(iter(data.values()))
    name = getattr(getattr(data, "info", None), "name", "") or type(data).__name__
    name = "arrays" if _is_arrays(data) else name
    return f"{SCHEME}:{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}"


def as_source(data: Any, name: str) -> Source:
    """Turn data from Python into a source. Raises XferError, one line, if they don't fit."""
    if isinstance(data, Source):
        return data
    for array in (data, data[0] if isinstance(data, tuple) and data else None):
        if isinstance(array, np.ndarray) and array.dtype.kind in "buif" and array.ndim < 3:
            message = f"an array {array.shape} is not a set of pictures"
            raise XferError(message, "give arrays (N, H, W, 3) or (N, H, W)")
    if _is_arrays(data):
        images, labels = data
        return _labelled(images, labels, name)
    if is_one(data):
        if isinstance(data, (str, os.PathLike)):
            raise XferError(f"data {str(data)!r} is a single path among data from Python", FORMS)
        return _labelled([data], None, name)
    rows = _rows(data)
    if rows is None:
        return _data_set(data, name)
    if len(rows) == 0:
        raise XferError(f"the data are an empty {type(data).__name__}", f"give {FORMS}")
    if not _is_pair(rows[0]):
        return _labelled(rows, None, name)
    odd = next((i for i, row in enumerate(rows) if not _is_pair(row)), None)
    if odd is not None:
        raise XferError(f"item {odd} of the data is not a pair (picture, label)", f"give {FORMS}")
    return _labelled([row[0] for row in rows], [row[1] for row in rows], name)


def _is_pair(item: Any) -> bool:
    return isinstance(item, (tuple, list, np.ndarray)) and len(item) == 2 and (
        not isinstance(item, np.ndarray) or item.dtype.kind in "OU"
    )  # fmt: skip


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or is_tensor(value)


def _is_arrays(data: Any) -> bool:
    """Whether data are (images, labels)."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    images, labels = data
    if _is_array(images):
        return not is_one(images) and (_is_array(labels) or isinstance(labels, (list, tuple)))
    several = isinstance(data, tuple) and isinstance(images, list)
    return several and (_is_array(labels) or isinstance(labels, (list, tuple)))


def _rows(data: Any) -> Any:
    """The items of a list, a tuple or an array; None for anything else."""
    if isinstance(data, (list, tuple)):
        return data
    if _is_array(data):
        kind = data.dtype.kind if isinstance(data, np.ndarray) else ""
        if kind in "OU" and kind and data.ndim == 2 and data.shape[1] == 2:
            return [tuple(row) for row in data.tolist()]
        return data if data.ndim in (3, 4) or kind in ("O", "U") else list(data)
    return None


def _labelled(pictures: Any, labels: Any, name: str) -> Source:
    """A source of pictures; labels may be None."""
    count = len(pictures)
    if labels is None:
        return _source(DataInfo(name, "images", ()), pictures, np.full(count, -1, np.int64))
    if len(labels) != count:
        raise XferError(f"{count} pictures but {len(labels)} labels", "give one label per picture")
    if _is_array(labels) and labels.ndim == 2:
        table = np.array(labels.tolist())
        if not np.isin(table, (-1, 0, 1)).all():
            raise XferError(f"labels {table.shape}: not all are 1, 0 or -1", "one column per class")
        classes = tuple(map(str, range(table.shape[1])))
        return _source(DataInfo(name, "multilabel", classes), pictures, table.astype(np.int8))
    values = _plain(labels)
    classes, numbers = class_numbers(values, None)
    return _source(DataInfo(name, "classify", classes), pictures, numbers)


def _source(info: DataInfo, pictures: Any, labels: NDArray[Any]) -> Source:
    if isinstance(pictures, (list, tuple)) and all(
        isinstance(picture, (str, os.PathLike)) for picture in pictures
    ):
        files = [os.fspath(picture) for picture in pictures]
        ids = [readable(file) for file in files]
        if len(set(ids)) < len(ids):
            ids = [f"{i}:{name}" for i, name in enumerate(ids)]
        return FileSource(info, Path(), files, labels, ids)
    source = Pictures(info, pictures, labels)
    source.read(0)  # report what is not a picture before anything else
    return source


def _plain(labels: Any) -> list[Any]:
    """Labels as plain Python values."""
    values = labels.tolist() if _is_array(labels) else list(labels)
    return [v.item() if hasattr(v, "item") and getattr(v, "ndim", 0) == 0 else v for v in values]


def class_numbers(
    values: Sequence[Any], names: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The class names and each label's index, -1 for none.

    Args: names: the classes that whole numbers index; None: the labels are the classes.

    Raises: XferError for labels of other kinds, of several kinds, or beyond the names.
    """
    known = [v for v in values if v is not None and not (type(v) is int and v == -1)]
    kinds = {str if isinstance(v, str) else int if isinstance(v, int) else type(v) for v in known}
    wrong = next((i for i, v in enumerate(values) if type(v) in kinds - {str, int}), None)
    if wrong is not None:
        raise XferError(
            f"label {wrong} is a {type(values[wrong]).__name__} ({values[wrong]!r:.40})",
            "give texts or whole numbers; for several per picture, an array (N, C) of 0 and 1",
        )
    if len(kinds) > 1:
        raise XferError("some labels are texts, others numbers", "give all of them as texts")
    if names is not None and kinds != {str}:
        beyond = next((v for v in known if not 0 <= v < len(names)), None)
        if beyond is not None:
            raise XferError(f"label {beyond} is out of range: classes are 0 to {len(names) - 1}")
        return tuple(names), np.array([-1 if v is None else int(v) for v in values], np.int64)
    negative = next((v for v in known if kinds == {int} and v < 0), None)
    if negative is not None:
        raise XferError(f"label {negative} is below 0", "-1 means no label")
    if "" in known:
        raise XferError(f"label {list(values).index('')} is empty", "None means no label")
    classes = sorted(set(known))
    index = {value: i for i, value in enumerate(classes)}
    numbers = np.array([index.get(v, -1) if v is not None else -1 for v in values], np.int64)
    return tuple(map(str, classes)), numbers


class Pictures:
    """Pictures in memory, some of which may be paths.

    info     | kind and classes
    pictures | N: what `given_picture` reads, or paths
    labels   | int64 (N,) or int8 (N, C), as in `Source`
    """

    def __init__(self, info: DataInfo, pictures: Sequence[Any], labels: NDArray[Any]) -> None:
        self.info = info
        self.pictures = pictures
        self.ids = tuple(str(i) for i in range(len(pictures)))
        self._labels = labels
        self._fingerprint = ""

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    @door.sample
    def read(self, i: int, short_side: int = 0) -> Sample:
        """Picture i, no larger than `short_side` asks for."""
        path = self.path(i)
        if path is not None:
            image = decode(path, short_side)
        else:
            image = shrink(given_picture(self.pictures[i], i), short_side)
        return Sample(self.ids[i], image, sample_label(self._labels[i]))

    def labels(self) -> NDArray[Any]:
        return self._labels

    def path(self, i: int) -> Path | None:
        """The file of picture i; None for one in memory."""
        picture = self.pictures[i]
        return Path(picture) if isinstance(picture, (str, os.PathLike)) else None

    def fingerprint(self) -> str:
        """Of classes, labels, pixels in memory and paths. Computed once."""
        if not self._fingerprint:
            digest = _about(self)
            for i, picture in enumerate(self.pictures):
                path = self.path(i)
                if path is not None:
                    digest.update(str(path).encode())
                elif isinstance(picture, (bytes, bytearray, memoryview)):
                    digest.update(picture)
                else:
                    digest.update(given_picture(picture, i).tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def _about(source: Source) -> Any:
    digest = hashlib.sha256("\0".join([str(len(source)), *source.info.classes]).encode())
    digest.update(np.ascontiguousarray(source.labels()).tobytes())
    return digest


class DataSet:
    """A torchvision-style map data set: data[i] -> (picture, label).

    Its fingerprint reads a few pictures, spread over the set, or none if it has a transform, which
    may be random.
    """

    def __init__(self, info: DataInfo, data: Any, labels: NDArray[np.int64]) -> None:
        self.info = info
        self.data = data
        self.ids = tuple(str(i) for i in range(len(labels)))
        self._labels = labels
        self._fingerprint = ""

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int) -> Sample:
        image = given_picture(_pair(self.data, i)[0], i)
        return Sample(self.ids[i], image, sample_label(self._labels[i]))

    def labels(self) -> NDArray[np.int64]:
        return self._labels

    def fingerprint(self) -> str:
        if not self._fingerprint:
            digest = _about(self)
            count = 0 if _transformed(self.data) else min(len(self), MAX_SAMPLED)
            for i in np.linspace(0, len(self) - 1, count).astype(int).tolist():
                digest.update(self[i].image.tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def _data_set(data: Any, name: str) -> Source:
    """A map data set as a source."""
    what = type(data).__name__
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or isinstance(data, Mapping):
        raise XferError(f"an object of type {what} is not data", f"give {FORMS}")
    count = len(data)
    if not count:
        raise DataError(f"{name}: an empty data set")
    named = _class_names(data)
    samples = getattr(data, "samples", None)
    loader = getattr(getattr(data, "loader", None), "__module__", "")
    if samples and named and loader.startswith("torchvision") and not _transformed(data):
        root = Path(data.root)  # ImageFolder: read its files like those of a folder
        files = [os.path.relpath(path, root) for path, _ in samples]
        classes, labels = class_numbers([int(label) for _, label in samples], named)
        return FileSource(DataInfo(name, "classify", classes), root, files, labels)
    first = _pair(data, 0)
    given_picture(first[0], 0)
    values = _targets(data)
    if values is None or _plain(values[:1]) != _plain([first[1]]):
        values = [_pair(data, i)[1] for i in range(count)]
    classes, labels = class_numbers(_plain(values), named)
    return DataSet(DataInfo(name, "classify", classes), data, labels)


def _pair(data: Any, i: int) -> tuple[Any, Any]:
    """Item i. Raises XferError if it is not (picture, label)."""
    what = type(data).__name__
    try:
        item = data[i]
    except XferError:
        raise
    except Exception as error:  # the data set's own code may raise anything
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise DataError(f"{what}[{i}]: {text}", f"give {FORMS}") from error
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        kind = f"{type(item).__name__} of {len(item)}" if isinstance(item, (tuple, list)) else (
            type(item).__name__
        )  # fmt: skip
        raise XferError(f"{what}[{i}] is a {kind}, not (picture, label)", f"give {FORMS}")
    return item[0], item[1]


def _transformed(data: Any) -> bool:
    """Whether a data set, or the one that it is a part of, transforms its items."""
    own = any(getattr(data, n, None) is not None
              for n in ("transform", "transforms", "target_transform"))  # fmt: skip
    inner = [getattr(data, "dataset", None), *(getattr(data, "datasets", None) or ())]
    return own or any(_transformed(one) for one in inner if one is not None)


def _targets(data: Any) -> Sequence[Any] | None:
    """All labels of a data set if it gives them without reading pictures, else None."""
    if getattr(data, "target_transform", None) is not None:
        return None
    inner, indices = getattr(data, "dataset", None), getattr(data, "indices", None)
    if inner is not None and indices is not None:  # torch's Subset
        whole = _targets(inner)
        return None if whole is None else [whole[i] for i in indices]
    if getattr(data, "datasets", None) and hasattr(data, "cumulative_sizes"):  # ConcatDataset
        parts = [_targets(one) for one in data.datasets]
        if any(part is None for part in parts):
            return None
        return [v for part in parts for v in _plain(part)]
    for name in ("targets", "labels", "_labels"):
        values = getattr(data, name, None)
        if hasattr(values, "__len__") and len(values) == len(data):  # pyright: ignore[reportArgumentType]
            return values
    return None


def _class_names(data: Any) -> tuple[str, ...] | None:
    """The class names of a data set, or of the one that it is a part of."""
    names = getattr(data, "classes", None)
    if not isinstance(names, (list, tuple)) or not names:
        inner = getattr(data, "dataset", None) or next(iter(getattr(data, "datasets", ())), None)
        return None if inner is None else _class_names(inner)
    words = [", ".join(n) if isinstance(n, (list, tuple)) else str(n) for n in names]
    twice = {word for word in words if words.count(word) > 1}
    return tuple(f"{w} ({i})" if w in twice else w for i, w in enumerate(words))
