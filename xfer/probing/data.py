"""The rows of a features file that a probe is trained and scored on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, XferError, nearest
from xfer.extraction.store import Features
from xfer.metrics.accuracy import Accuracy
from xfer.metrics.multilabel import MultiLabelAP


@dataclass(frozen=True)
class Part:
    """The labelled pictures of one split.

    features | float (N, D)
    labels   | int (N,), or int8 (N, C) with 1, 0 and -1
    ids      | N names
    """

    features: NDArray[Any]
    labels: NDArray[Any]
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)


def choose_layer(layers: Mapping[str, Any], requested: str, where: str) -> str:
    """The requested layer, or the only one. Raises XferError if it is missing or ambiguous."""
    if requested and requested not in layers:
        raise XferError(f"{where} has no layer {requested!r}", nearest(requested, layers))
    if not requested and len(layers) > 1:
        raise XferError(f"{where} holds {', '.join(layers)}", "choose one: --layer NAME")
    return requested or next(iter(layers))


def split_parts(table: Features, layer: str, where: str) -> dict[str, Part]:
    """Split name -> its labelled pictures; only splits that have some.

    Raises: DataError if y holds numbers instead of classes, if train has no labels or only one
        class, and for numbers that are not finite.
    """
    if np.issubdtype(table.y.dtype, np.floating):
        raise DataError(
            f"{where}: y holds numbers, not classes, and a probe is a classifier",
            "use numpy.load(FILE) to get X and y for a scikit-learn regressor",
        )
    labelled = table.y >= 0 if table.y.ndim == 1 else (table.y >= 0).any(1)
    if not labelled.any():
        raise DataError(f"{where}: no picture has a label", "a probe needs labelled pictures")
    parts: dict[str, Part] = {}
    for split in ("train", "val", "test"):
        rows = np.flatnonzero(labelled & (table.splits == split))
        if len(rows):
            part = Part(_rows(table.layers[layer], rows), table.y[rows], table.ids[rows].tolist())
            bad = np.flatnonzero(~np.isfinite(part.features).all(1))
            if len(bad):
                raise DataError(f"{where}: the features of {part.ids[bad[0]]} are not finite")
            parts[split] = part
    if "train" not in parts:
        raise DataError(f"{where}: no labelled training pictures", "extract features of train, too")
    _check_classes(parts["train"].labels, table.classes.tolist(), where)
    return parts


def _rows(layer: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Loads rows of a mapped layer; a contiguous split is read at once."""
    whole = len(rows) == rows[-1] - rows[0] + 1
    return np.asarray(layer[rows[0] : rows[-1] + 1] if whole else layer[rows], np.float32)


def _check_classes(labels: NDArray[Any], classes: list[str], where: str) -> None:
    if labels.ndim == 1:
        seen = np.unique(labels)
        if len(seen) < 2:
            raise DataError(
                f"{where}: all training pictures are of one class ({classes[int(seen[0])]})",
                "a probe needs at least two classes",
            )
    elif not ((labels == 1).any(0) & (labels == 0).any(0)).any():
        raise DataError(
            f"{where}: no class has both positive and negative pictures in train",
            "a probe needs at least two classes",
        )


def new_metric(labels: NDArray[Any], classes: list[str]) -> Accuracy | MultiLabelAP:
    """The metric for labels (N,) or (N, C)."""
    return Accuracy(classes) if labels.ndim == 1 else MultiLabelAP(classes)
