"""`meta`: how features were made, as it stands in a features file and in a probe's model.json.

People may edit it, so its fields are checked where they are needed.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xfer.data.sources.base import Bundle
from xfer.extraction.form import Form
from xfer.extraction.net import FeatureNet
from xfer.files import Types, check_fields

# what `describe` writes and others read
_NEEDED: Types = {
    "backbone": str, "options": dict, "weights": dict, "pool": str, "crops": str,
    "normalise": str, "data": dict,
}  # fmt: skip
_SUM: Types = {"file_sha256": str}
_KIND: Types = {"kind": str}
_NET: Types = {"views": str, "dtype": str, "preprocess": dict, "precision": str}
_WEIGHTS: Types = {"spec": str}
_DATA: Types = {"spec": str, "fingerprint": (str, type(None))}
_DATA_KNOWN: Types = {
    "kind": str, "train": str, "val": str, "test": str, "limit": int, "seed": int,
    "skip_bad": bool, "changes": str, "images": str, "ignore": str, "path": str, "label": str,
    "split": str, "proposals": str,
}  # fmt: skip


def check_meta(file: Path | str, meta: object, net: bool = False) -> dict[str, Any]:
    """The meta of a file, whose fields are of the types that `describe` gives them.

    Args: net: whether the net is to be made again from it.

    Raises: DataError that names the file and the field.
    """
    where = f"{file}: meta"
    about = check_fields(where, meta, {**_NEEDED, **(_NET if net else {})})
    check_fields(f"{where}: weights", about["weights"], {**_WEIGHTS, **(_SUM if net else {})})
    check_fields(f"{where}: data", about["data"], {**_DATA, **(_KIND if net else {})}, _DATA_KNOWN)
    if net:
        check_fields(f"{where}: preprocess", about["preprocess"], {"size": int})
    return about


def describe(
    bundle: Bundle, net: FeatureNet, form: Form, widths: Mapping[str, int]
) -> dict[str, Any]:
    """How features were made, as JSON types: the `meta` of a features file.

    Args: widths: layer -> the length of its vectors.
    """
    choice = net.choice
    return {
        "backbone": choice.backbone,
        "options": dict(choice.options),
        "weights": {
            "spec": choice.weights, "source": net.report.source,
            "file_sha256": net.report.digest, "digest": net.digest,
        },
        "layers": dict(widths),
        "pool": choice.pool,
        "crops": choice.crops,
        "views": choice.views,
        "normalise": form.normalise,
        "dtype": form.dtype,
        "preprocess": asdict(net.preprocess),
        "precision": net.place.precision,
        "device": net.place.device.type,
        "data": {
            "spec": bundle.name, "format": bundle.format, "kind": bundle.kind,
            "fingerprint": bundle.fingerprint(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("xfer", "torch", "numpy", "simplejpeg")},
        },
    }  # fmt: skip
