"""A fitted probe on the disk: probe.skops beside model.json; reading them runs no code."""

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

MODEL = "probe.skops"


def model_json(
    found: Features, weights: str, layer: str, clf: str, fitted: Probe, choice: Choice
) -> dict[str, Any]:
    """What rebuilds a probe, and the net below it, beside probe.skops.

    "features" is the features file's own account of how they were made; `weights` is the spec of
    the net's weights as it can be read from any folder.
    """
    return {
        "schema": 1,
        "task": "probe",
        "backbone": found.meta["backbone"],
        "weights": weights,
        "kind": "multilabel" if fitted.several else "classify",
        "classes": [str(name) for name in found.classes],
        "layer": layer,
        "clf": clf,
        "scaling": choice.scaling,
        "value": choice.value,
        "temperature": fitted.temperature,
        "features": found.meta,
    }


def save_probe(run: Run, fitted: Probe, about: dict[str, Any]) -> None:
    """Writes probe.skops (the scikit-learn pipeline) and model.json into the run folder."""
    from skops import io

    with replacing(run.path / MODEL) as temporary:
        io.dump(fitted.pipeline, temporary)
    run.write_json("model.json", about)


def load_probe(run: Path | str) -> tuple[Probe, dict[str, Any]]:
    """The probe of a run folder, and its model.json.

    Raises: XferError where the folder holds no probe; DataError where its files are damaged or
        hold anything but numbers and scikit-learn's own types.
    """
    folder = Run.open(Path(run))
    about = folder.read_json("model.json")
    file = folder.path / MODEL
    if not file.is_file():
        raise DataError(f"{file}: no such file", "fit the probe again with `xfer probe`")
    pipeline = _read(file)
    if not isinstance(pipeline, Pipeline) or len(pipeline) != 2:
        raise DataError(f"{file}: not a probe of xfer's, but a {type(pipeline).__name__}")
    several = kinds.get(about["kind"]).several
    return Probe(pipeline, len(about["classes"]), several, about["temperature"]), about


def _read(file: Path) -> Any:
    from skops import io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return io.load(file, trusted=[])
    except UntrustedTypesFoundException as error:
        raise DataError(
            f"{file}: holds what could run code ({error})", "it was not loaded"
        ) from None
    except Exception as error:
        raise DataError(f"{file}: damaged ({str(error) or type(error).__name__})") from error
