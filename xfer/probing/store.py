"""A fitted probe on disk: probe.skops beside model.json; reading them runs no code.

skops trusts all of scikit-learn, far more than a probe needs, and what it makes of a file is only
looked at afterwards. So the names in the file are compared with those of a probe first.
"""

from __future__ import annotations

import json
import math
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from xfer import kinds
from xfer.errors import DataError, whole
from xfer.extraction.store import Features
from xfer.files import replacing
from xfer.probing.choose import Choice
from xfer.probing.fit import Probe
from xfer.runs.folder import Run
from xfer.runs.model_file import read_model, write_model

MODEL = "probe.skops"
WIDEST = 1 << 24  # numbers per picture; a map of a large picture has 10,000,000
# what a probe consists of: skops' kinds of nodes, and the classes in them by their package
_NODES = ("CachedNode", "DictNode", "DtypeNode", "JsonNode", "ListNode", "NdArrayNode",
          "ObjectNode", "TupleNode", "TypeNode")  # fmt: skip
_CLASSES = {
    "builtins": ("NoneType", "bool", "dict", "float", "int", "list", "str", "tuple"),
    "numpy": ("bool", "bool_", "dtype", "float32", "float64", "int32", "int64", "ndarray"),
    "sklearn": (
        "DummyClassifier", "KNeighborsClassifier", "LabelBinarizer", "LinearDiscriminantAnalysis",
        "LinearSVC", "LogisticRegression", "MultiOutputClassifier", "Normalizer", "Pipeline",
        "RidgeClassifier", "SVC", "StandardScaler",
    ),
}  # fmt: skip
_MOST = 64 << 20  # bytes of the list of names


def model_json(
    table: Features, weights: str, layer: str, clf: str, fitted: Probe, choice: Choice
) -> dict[str, Any]:
    """The model.json that, with probe.skops, rebuilds a probe and its net.

    "features" is the `meta` of the features file; `weights` is the spec of the net's weights,
    valid from any folder.
    """
    return {
        "schema": 1,
        "task": "probe",
        "backbone": table.meta["backbone"],
        "weights": weights,
        "kind": "multilabel" if fitted.several else "classify",
        "classes": [str(name) for name in table.classes],
        "layer": layer,
        "clf": clf,
        "scaling": choice.scaling,
        "value": choice.value,
        "temperature": fitted.temperature,
        "features": table.meta,
    }


def save_probe(run: Run, fitted: Probe, about: dict[str, Any]) -> None:
    """Writes probe.skops (the scikit-learn pipeline) and model.json into the run folder."""
    from skops import io

    with replacing(run.path / MODEL) as temporary:
        io.dump(fitted.pipeline, temporary)
    write_model(run, about)


def load_probe(run: Path | str) -> tuple[Probe, dict[str, Any]]:
    """Loads the probe of a run folder, and its model.json.

    Raises: XferError if the folder has no probe; DataError if its files are damaged or
        hold anything but numbers and scikit-learn's own types.
    """
    folder = Run.open(Path(run))
    about = read_model(folder)
    file = folder.path / MODEL
    if not file.is_file():
        raise DataError(f"{file}: no such file", "fit the probe again with `xfer probe`")
    pipeline = _read(file)
    if not isinstance(pipeline, Pipeline) or len(pipeline) != 2:
        raise DataError(f"{file}: not a probe from xfer, but a {type(pipeline).__name__}")
    _check_finite(file, pipeline)
    temperature = about.get("temperature")
    if not isinstance(temperature, (int, float)) or not 0 < temperature < math.inf:
        raise DataError(f"{folder.path / 'model.json'}: temperature is {temperature!r}")
    several = kinds.get(about["kind"]).several
    probe = Probe(pipeline, len(about["classes"]), several, about["temperature"])
    _try(file, probe)
    return probe, about


def _try(file: Path, probe: Probe) -> None:
    """Raises DataError if a probe can't compute: its arrays may be of any shapes."""
    with whole(file, "damaged"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of divisions by zero: the numbers tell
        if not 0 < probe.width <= WIDEST:
            raise DataError(f"{file}: damaged (it was fitted to {probe.width} numbers)")
        for model in probe.models:
            if not _fits(model, probe.width):
                raise DataError(f"{file}: damaged (its arrays don't belong together)")
        scores = probe.probabilities(np.zeros((1, probe.width), np.float32))
        if scores.shape != (1, probe.classes) or not np.isfinite(scores).all():
            raise DataError(f"{file}: damaged (its scores are not one number per class)")


def _fits(model: Any, width: int) -> bool:
    """Whether the arrays of a classifier fit together where scikit-learn believes them: neighbours'
    classes, and what libsvm, in C, takes for granted. Other shapes make numpy raise."""
    count = len(model.classes_)
    if isinstance(model, KNeighborsClassifier):
        rows, inner = np.asarray(model._fit_X), np.asarray(model._y)
        near: Any = model.n_neighbors
        return (
            rows.shape == (len(inner), width) and 1 <= near <= len(inner)
            and 0 <= int(inner.min()) <= int(inner.max()) < count
        )  # fmt: skip
    if isinstance(model, SVC):
        many, each = len(model.support_), np.asarray(model._n_support)
        return (
            model.kernel == "rbf" and not model._sparse and each.shape == (count,)
            and bool((each >= 0).all()) and int(each.sum()) == many
            and model.support_vectors_.shape == (many, width)
            and model._dual_coef_.shape == (count - 1, many)
            and model._intercept_.shape == (count * (count - 1) // 2,)
        )  # fmt: skip
    return True


def _check_finite(file: Path, part: Any, name: str = "") -> None:
    """Raises DataError, naming it, for a fitted array with numbers that are NaN or infinite."""
    if isinstance(part, np.ndarray) and part.dtype.kind in "fc":
        if not np.isfinite(part).all():
            raise DataError(f"{file}: {name} has numbers that are NaN or infinite",
                            "fit the probe again with `xfer probe`")  # fmt: skip
    elif isinstance(part, BaseEstimator):
        for key, value in vars(part).items():
            _check_finite(file, value, key)
    elif isinstance(part, (list, tuple)):
        for item in part:
            _check_finite(file, item, name)


def _read(file: Path) -> Any:
    from skops import io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        _check_names(file)
        return io.load(file, trusted=[])
    except DataError:
        raise
    except UntrustedTypesFoundException as error:
        raise DataError(
            f"{file}: has content that could run code ({error})", "it was not loaded"
        ) from None
    except Exception as error:
        raise DataError(f"{file}: damaged ({str(error) or type(error).__name__})") from error


def _check_names(file: Path) -> None:
    """Raises DataError for a file that names anything else than the parts of a probe."""
    with zipfile.ZipFile(file) as archive:
        if archive.getinfo("schema.json").file_size > _MOST:
            raise DataError(f"{file}: its schema.json is too large", "it was not loaded")
        schema = json.loads(archive.read("schema.json"))
    for node in _nodes(schema):
        module, name = str(node.get("__module__")), str(node.get("__class__"))
        known = _CLASSES.get(module.partition(".")[0], ())
        if name not in known or node["__loader__"] not in _NODES:
            raise DataError(
                f"{file}: names {module}.{name}, no part of a probe", "it was not loaded"
            )


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """The nodes in skops' schema, at any depth."""
    if isinstance(value, dict):
        if "__loader__" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item)
