"""The rows of a features file that a probe learns from and is scored on."""

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


def choose_layer(layers: Mapping[str, Any], asked: str, where: str) -> str:
    """The layer asked for, or the only one. Raises XferError where it is not there or not said."""
    if asked and asked not in layers:
        raise XferError(f"{where} has no layer {asked!r}", nearest(asked, layers))
    if not asked and len(layers) > 1:
        raise XferError(f"{where} holds {', '.join(layers)}", "say which is meant: --layer NAME")
    return asked or next(iter(layers))


def split_parts(found: Features, layer: str, where: str) -> dict[str, Part]:
    """Split name -> its labelled pictures; only those that have some.

    Raises: DataError where y is no class, where train has no labels or holds one class only, and
        for numbers that are not finite.
    """
    if np.issubdtype(found.y.dtype, np.floating):
        raise DataError(
            f"{where}: y holds numbers, not classes, and a probe is a classifier",
            "numpy.load(FILE) gives X and y to a regressor of scikit-learn",
        )
    known = found.y >= 0 if found.y.ndim == 1 else (found.y >= 0).any(1)
    if not known.any():
        raise DataError(f"{where}: no picture has a label", "a probe needs labelled pictures")
    parts: dict[str, Part] = {}
    for split in ("train", "val", "test"):
        rows = np.flatnonzero(known & (found.splits == split))
        if len(rows):
            part = Part(_rows(found.layers[layer], rows), found.y[rows], found.ids[rows].tolist())
            bad = np.flatnonzero(~np.isfinite(part.features).all(1))
            if len(bad):
                raise DataError(f"{where}: the features of {part.ids[bad[0]]} are not finite")
            parts[split] = part
    if "train" not in parts:
        raise DataError(f"{where}: no labelled training pictures", "extract features of train too")
    _check_classes(parts["train"].labels, found.classes.tolist(), where)
    return parts


def _rows(layer: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows of a mapped layer in memory; a split that lies in one piece is read in one go."""
    whole = len(rows) == rows[-1] - rows[0] + 1
    return np.asarray(layer[rows[0] : rows[-1] + 1] if whole else layer[rows], np.float32)


def _check_classes(labels: NDArray[Any], classes: list[str], where: str) -> None:
    if labels.ndim == 1:
        seen = np.unique(labels)
        if len(seen) < 2:
            raise DataError(
                f"{where}: all training pictures are of one class ({classes[int(seen[0])]})",
                "there must be two to tell apart",
            )
    elif not ((labels == 1).any(0) & (labels == 0).any(0)).any():
        raise DataError(
            f"{where}: no class has both pictures with it and without it in train",
            "there must be two to tell apart",
        )


def new_metric(labels: NDArray[Any], classes: list[str]) -> Accuracy | MultiLabelAP:
    """The metric for labels (N,) or (N, C)."""
    return Accuracy(classes) if labels.ndim == 1 else MultiLabelAP(classes)
