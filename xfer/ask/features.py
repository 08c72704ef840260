"""Frozen features and classifiers on them: what can be known of data without training a net."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfer import kinds
from xfer.backbones.build import make_backbone
from xfer.data.sources.base import Bundle
from xfer.errors import XferError
from xfer.extraction.extract import extract
from xfer.extraction.net import Choice
from xfer.extraction.store import Features
from xfer.metrics.interval import interval_of
from xfer.probing.choose import Choice as Strength
from xfer.probing.data import new_metric, split_parts
from xfer.probing.fit import Probe, fit_probe
from xfer.recipe.tables import Recipe

WIDE = 512  # a map with as many channels is averaged, a narrower one by quarters
CLF = "logreg"


def is_labelled(bundle: Bundle) -> bool:
    """Whether every picture has one class, which is what probes are fitted to."""
    kind, labels = kinds.get(bundle.kind), bundle.splits["train"].labels()
    return kind.labelled and kind.classes and not kind.several and labels.ndim == 1


def check_labelled(bundle: Bundle, question: str) -> None:
    """Raises XferError for data whose pictures don't have one class each."""
    if not is_labelled(bundle):
        raise XferError(
            f"`xfer ask {question}` needs one label per picture, and {bundle.name} has none",
            "`xfer ask lr`, `batch`, `augment`, `freeze` and `overfit` take all data",
        )


def trunk(recipe: Recipe, layers: tuple[str, ...] = ()) -> Choice:
    """The recipe's net and its maps, all by default, averaged where they are wide."""
    with torch.device("meta"):
        net = make_backbone(recipe.backbone, weights="none", **dict(recipe.backbone_options))
    names = layers or net.map_names
    wide = all(net.specs[name].channels >= WIDE for name in names)
    return Choice(
        recipe.backbone, recipe.weights, tuple(names), "avg" if wide else "grid2",
        size=recipe.data.size, device=recipe.run.device,
        options=tuple(sorted(dict(recipe.backbone_options).items())),
    )  # fmt: skip


def last_map(recipe: Recipe) -> Choice:
    """The recipe's net and its deepest map."""
    every = trunk(recipe)
    return trunk(recipe, every.layers[-1:])


def features_of(q: Any, choice: Choice, bundle: Bundle | None = None) -> Features:
    """The features of train and val, never of test; kept in the feature cache."""
    own: Bundle = q.bench.data(q.plain) if bundle is None else bundle
    quiet = replace(own, notes=(), skipped=(), findings=())
    found = extract(quiet, choice=choice, data_keys={"find": False}, say=lambda _: None).features
    assert found is not None
    return found


def probed(table: Features, layer: str, where: str) -> dict[str, Any]:
    """A classifier fitted to train and scored on val: {"width", "score", "low", "high"}."""
    parts = split_parts(table, layer, where)
    train, val = parts["train"], parts["val"]
    classes = [str(name) for name in table.classes]
    probe, _ = fit_probe(CLF, train.features, train.labels, len(classes))
    metric = new_metric(val.labels, classes)
    metric.add(probe.probabilities(val.features), val.labels, val.ids)
    ends = interval_of(metric)
    return {
        "width": int(train.features.shape[1]), "score": metric.compute()[metric.primary],
        "low": None if ends is None else ends.low, "high": None if ends is None else ends.high,
    }  # fmt: skip


def fitted(
    features: NDArray[Any], labels: NDArray[Any], classes: int, strength: Strength | None = None
) -> tuple[Probe, Strength]:
    """A classifier on vectors, with a strength chosen by cross-validation unless it is given."""
    return fit_probe(CLF, features, labels, classes, choice=strength)


def log_me(features: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """LogME: the log evidence per picture of linear models on frozen features, the mean over the
    classes; higher is better.

    Args: features: float (N, D); labels: int (N,).
    Source: You, Liu, Wang, Long 2021, "LogME: Practical assessment of pre-trained models for
        transfer learning", Alg. 1, with the fixed-point iteration of alpha and beta.
    """
    x = np.asarray(features, np.float64)
    n, d = x.shape
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    squares = s**2
    evidences: list[float] = []
    for label in np.unique(labels):
        y = (labels == label).astype(np.float64)
        z = u.T @ y
        outside = float(max(y @ y - z @ z, 0.0))  # of y, what no features explain
        alpha = beta = 1.0
        for _ in range(11):
            shrunk = beta * squares / (alpha + beta * squares)
            gamma = float(shrunk.sum())
            m2 = float(((beta * s * z / (alpha + beta * squares)) ** 2).sum())
            residual = float((((1 - shrunk) * z) ** 2).sum()) + outside
            new_alpha = gamma / max(m2, 1e-12)
            beta = max(n - gamma, 1e-9) / max(residual, 1e-12)
            settled = abs(new_alpha - alpha) <= 1e-3 * alpha
            alpha = new_alpha
            if settled:
                break
        m2 = float(((beta * s * z / (alpha + beta * squares)) ** 2).sum())
        shrunk = beta * squares / (alpha + beta * squares)
        residual = float((((1 - shrunk) * z) ** 2).sum()) + outside
        log_det = float(np.log(alpha + beta * squares).sum()) + max(d - len(s), 0) * np.log(alpha)
        evidences.append((
            n / 2 * np.log(beta) + d / 2 * np.log(alpha) - n / 2 * np.log(2 * np.pi)
            - beta / 2 * residual - alpha / 2 * m2 - log_det / 2
        ) / n)  # fmt: skip
    return float(np.mean(evidences))


def cost_of(choice: Choice, seconds: float = 2.0) -> Mapping[str, float]:
    """What a net costs to run: {"ms_per_picture", "mb"}: a batch of 8 at a time on this machine,
    and its weights as float32."""
    net = make_backbone(choice.backbone, weights="none", **dict(choice.options)).eval()
    side = choice.size or net.preprocess.size
    images = torch.zeros(8, 3, side, side)
    times: list[float] = []
    end = time.monotonic() + seconds
    with torch.no_grad():
        while len(times) < 3 or (time.monotonic() < end and len(times) < 10):
            begin = time.perf_counter()
            net(images, want=(choice.layers[-1],))
            times.append(time.perf_counter() - begin)
    size = sum(p.numel() for name, p in net.named_parameters() if not name.startswith("tail"))
    return {"ms_per_picture": 1000 * min(times) / len(images), "mb": 4 * size / 2**20}
