"""What a model must beat to be worth anything: a majority vote, and means of frozen features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xfer.data.loading.feature_loader import FeatureLoader
from xfer.metrics.accuracy import Accuracy
from xfer.task import Metric

if TYPE_CHECKING:
    from xfer.train.job import Job


def baselines(job: Job, metric: Metric | None) -> dict[str, Any]:
    """What a run's score on val is to be seen beside, for one label per picture; else {}.

    Returns: {"majority": {"class": the most frequent in train, "score": its share of val},
        "predicted_classes": how many classes the model predicts on val, "true_classes": how many
        occur, "chance_loss": of guessing all classes alike, nats, and "centroid": {"score": of the
        nearest class mean of the frozen features} where these are in memory}.
    """
    if not isinstance(metric, Accuracy):
        return {}
    counts = metric.confusion
    labels = job.bundle.splits["train"].labels()
    majority = int(np.bincount(labels[labels >= 0], minlength=len(counts)).argmax())
    found: dict[str, Any] = {
        "majority": {
            "class": metric.classes[majority],
            "score": float(counts[majority].sum() / max(1, counts.sum())),
        },
        "predicted_classes": int((counts.sum(0) > 0).sum()),
        "true_classes": int((counts.sum(1) > 0).sum()),
        "chance_loss": float(np.log(len(counts))),
    }
    if isinstance(job.train, FeatureLoader) and isinstance(job.quick_val, FeatureLoader):
        found["centroid"] = {"score": nearest_mean(job.train, job.quick_val)}
    return found


def nearest_mean(train: FeatureLoader, val: FeatureLoader) -> float:
    """Top-1 on val of the class whose mean of the training vectors has the smallest angle."""
    rows, truth = train.rows[0].float().mean(1), train.labels
    classes = truth[truth >= 0].unique()
    means = torch.stack([rows[truth == label].mean(0) for label in classes])
    centre = rows.mean(0)
    unit = torch.nn.functional.normalize
    scores = unit(val.rows[0].float().mean(1) - centre) @ unit(means - centre).T
    known = val.labels >= 0
    right = classes[scores.argmax(1)][known] == val.labels[known]
    return float(right.float().mean())
