"""Labels that a probe on frozen features doubts: confident learning.

Each picture gets class probabilities from a classifier that has not seen it (nor a copy of it). A
label is suspect if another class is at least as likely as that class is, on average, for the
pictures that carry it.

Source: Northcutt, Jiang, Chuang 2021, Confident Learning, J. Artif. Intell. Res. 70, sec. 3.1 (the
    confident joint), ranked by normalized margin (sec. 3.3).
Differs: the features are a frozen backbone's, the classifier a logistic regression; copies and near
    copies of a picture are never in the other folds; only margins of at least MARGIN are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xfer.data.sources.base import Bundle
from xfer.doctor.pictures import PLAIN, Looks, some_of
from xfer.extraction.extract import extract
from xfer.extraction.net import Choice
from xfer.kinds.findings import Finding, counted, finding
from xfer.probing.held_out import held_out_probabilities
from xfer.types import Source

WIDE = 512  # a map with as many channels is averaged, a narrower one by quarters
MARGIN = 0.2  # a class must be this much more probable than the label to be worth a look


@dataclass(frozen=True)
class Suspect:
    """A doubted label: index of the picture, its class, what the probe says, the probabilities."""

    index: int
    label: int
    likely: int
    own: float
    other: float


def features_of(
    bundle: Bundle, looks: Looks, backbone: str, weights: str, device: str,
    say: Callable[[str], None],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:  # fmt: skip
    """float32 (M, D) features of the last map of a frozen net, and the M indices of the pictures,
    those that can be used. Raises DataError for weights that can't be had."""
    layer, channels = last_map(backbone)
    good = looks.good & (looks.spread >= PLAIN)  # a blank picture shows no class
    choice = Choice(
        backbone, weights, (layer,), "avg" if channels >= WIDE else "grid2", device=device
    )
    usable = replace(bundle, splits=some_of(bundle.splits, good), notes=(), skipped=(), findings=())
    found = extract(usable, choice=choice, data_keys={"find": False}, say=say).features
    assert found is not None
    return np.asarray(found.layers[layer], np.float32), np.flatnonzero(good)


def last_map(backbone: str) -> tuple[str, int]:
    """The deepest map of a net, and its channels."""
    import torch

    from xfer.backbones.build import make_backbone

    with torch.device("meta"):
        net = make_backbone(backbone, weights="none")
    spec = next(reversed(net.specs.values()))
    return spec.name, spec.channels


def find_suspects(
    features: NDArray[np.float32], labels: NDArray[np.int64], groups: Sequence[Sequence[int]] = ()
) -> list[Suspect]:
    """The doubted labels, the most doubted first.

    Args:
        features: float32 (N, D); labels: int64 (N,), class indices, -1: not labelled.
        groups: indices of pictures that are copies of each other: never in different folds.
    """
    known = np.flatnonzero(labels >= 0)
    counts = np.bincount(labels[known], minlength=1)
    known = known[counts[labels[known]] >= 2]  # of a single picture nothing can be said
    if len(np.unique(labels[known])) < 2:
        return []
    together = np.arange(len(labels))
    for group in groups:
        together[list(group)] = min(group)
    likely = held_out_probabilities(features[known], labels[known], together[known])
    return _doubted(likely, labels[known], known)


def _doubted(
    likely: NDArray[np.float64], labels: NDArray[np.int64], index: NDArray[np.int64]
) -> list[Suspect]:
    rows = np.arange(len(labels))
    own = likely[rows, labels]
    classes = likely.shape[1]
    threshold = np.full(classes, np.inf)  # the mean probability of a class where it is the label
    for c in np.unique(labels):
        threshold[c] = own[labels == c].mean()
    confident = likely >= threshold
    confident[rows, labels] = False
    best = np.where(confident, likely, -1.0)
    other = best.argmax(1)
    doubted = (best[rows, other] >= own + MARGIN) & confident.any(1)
    suspects = [
        Suspect(int(index[k]), int(labels[k]), int(other[k]), float(own[k]),
                float(likely[k, other[k]]))
        for k in np.flatnonzero(doubted)
    ]  # fmt: skip
    return sorted(suspects, key=lambda s: s.own - s.other)


def report(
    suspects: Sequence[Suspect], looks: Looks, classes: Sequence[str], net: str
) -> list[Finding]:
    """The finding, for suspects in order."""
    if not suspects:
        return []
    head = (
        f"{counted(len(suspects), 'label')} to look at, the most doubtful first, by confident "
        f"learning (Northcutt 2021) on features of {net}"
    )
    lines = [
        f"{looks.id(s.index)} ({classes[s.label]}; rather {classes[s.likely]}, {s.other:.2f})"
        for s in suspects
    ]
    return [finding("label_suspect", head, [[looks.id(s.index)] for s in suspects], lines)]


def all_labels(splits: Mapping[str, Source]) -> NDArray[np.int64] | None:
    """int64 (N,) labels of all pictures, if each has at most one class; else None."""
    rows = [source.labels() for source in splits.values()]
    if any(row.ndim != 1 or row.dtype != np.int64 for row in rows):
        return None
    return np.concatenate(rows).astype(np.int64) if rows else None
