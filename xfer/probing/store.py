"""A fitted probe on disk: probe.skops beside model.json; reading them runs no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sklearn.pipeline import Pipeline

from xfer import kinds
from xfer.errors import DataError
from xfer.extraction.store import Features
from xfer.files import replacing
from xfer.probing.choose import Choice
from xfer.probing.fit import Probe
from xfer.runs.folder import Run
from xfer.runs.model_file import read_model, write_model

MODEL = "probe.skops"


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
    several = kinds.get(about["kind"]).several
    return Probe(pipeline, len(about["classes"]), several, about["temperature"]), about


def _read(file: Path) -> Any:
    from skops import io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return io.load(file, trusted=[])
    except UntrustedTypesFoundException as error:
        raise DataError(
            f"{file}: has content that could run code ({error})", "it was not loaded"
        ) from None
    except Exception as error:
        raise DataError(f"{file}: damaged ({str(error) or type(error).__name__})") from error
