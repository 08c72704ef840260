"""What stands in an exported file besides the net: preprocessing, classes, score, protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xfer import __version__
from xfer.errors import DataError, XferError
from xfer.exporting.contract import Choices, Exportable
from xfer.files import Types, check_fields, check_schema
from xfer.runs.folder import Run

SCHEMA = 1
_FIELDS: Types = {
    "task": str, "kind": str, "classes": list, "inputs": list, "outputs": list,
    "preprocessing": dict, "choices": dict, "model": dict,
}  # fmt: skip


def about_file(folder: Run, about: Mapping[str, Any], net: Exportable) -> dict[str, Any]:
    """The metadata of a file.

    Args: folder: the run; about: its model.json; net: what the file is made from.
    """
    own, result = net.task.preprocess, _result(folder)
    primary = result.get("primary", "")
    metrics = result.get("metrics") or result.get("test_metrics") or {}
    return {
        "schema": SCHEMA,
        "xfer": __version__,
        "task": about["task"],
        "kind": about["kind"],
        "backbone": about["backbone"],
        "classes": list(net.task.info.classes),
        "metric": {
            "name": primary, "value": metrics.get(primary), "split": "val"
            if "metrics" in result else "test",
        },
        "protocol": result.get("protocol", {}),
        "data": str(result.get("data", "")),
        "preprocessing": {
            "mean": list(own.mean), "std": list(own.std), "channels": own.channels,
            "scale": own.scale, "inside": net.choices.preprocessing, **net.view(),
        },
        "inputs": list(net.inputs),
        "outputs": list(net.outputs),
        **net.describe(),
        "choices": {k: v for k, v in asdict(net.choices).items() if k != "for_onnx"},
        "model": dict(about),
    }  # fmt: skip


def _result(folder: Run) -> dict[str, Any]:
    """A run's result.json; {} if it is not finished."""
    return folder.read_json("result.json") if folder.finished else {}


def as_text(about: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as ONNX holds them: texts, each of which is JSON."""
    return {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()}


def from_text(file: Path | str, texts: Mapping[str, str]) -> dict[str, Any]:
    """The inverse of `as_text`. Raises DataError if it is not what `xfer export` writes."""
    if "schema" not in texts or "model" not in texts:
        raise DataError(f"{file}: not written by xfer export", "xfer export RUN -o FILE.onnx")
    about: dict[str, Any] = {}
    for key, text in texts.items():
        try:
            about[key] = json.loads(text)
        except (ValueError, RecursionError):
            continue  # another tool's
    check_schema(file, about.get("schema"), SCHEMA)
    check_fields(file, about, _FIELDS)
    return about


def choices_of(file: Path | str, about: Mapping[str, Any]) -> Choices:
    """The choices that a file was made with."""
    known = about["choices"]
    try:
        return Choices(
            softmax=bool(known["softmax"]), full_size=bool(known["full_size"]),
            preprocessing=bool(known["preprocessing"]), dynamic=tuple(known["dynamic"]),
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: damaged (choices)", "export it again") from error


def check_choices(net: Exportable, choices: Choices) -> None:
    """Raises XferError for a choice that has no effect on this task."""
    for name in ("softmax", "full_size"):
        if getattr(choices, name) and name not in net.knows:
            flag = name.replace("_", "-")
            raise XferError(
                f"--{flag} has no effect on the task {type(net.task).__name__.lower()}",
                f"leave out --{flag}",
            )
