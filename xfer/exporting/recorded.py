"""A net's computation, recorded by torch.export: what both formats are made from."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from xfer.errors import XferError
from xfer.exporting.contract import BATCH, MULTIPLE, SIZE, Exportable

MOST_MULTIPLES = 400  # times 32 pixels: the longest side that a file takes


@torch.no_grad()
def record(net: Exportable) -> Any:
    """The ExportedProgram of a net, with the axes variable that its choices name.

    Raises: XferError if torch can't record it: a backbone of the user's own may hold what has no
        counterpart in a file.
    """
    example = net.example()
    net.eval()(*example)  # what a net computes once and keeps must not be of the recording
    try:
        with quiet():
            return torch.export.export(net, example, dynamic_shapes=_shapes(net), strict=False)
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        why = (lines or [type(error).__name__])[0][:160]
        name = net.task.backbone.name
        fixed = "" if net.choices.dynamic == () else "; --dynamic none fixes the input's size"
        raise XferError(
            f"torch.export can't record {name}: {why}", f"--debug shows all{fixed}"
        ) from error


def varies(net: Exportable, axis: str | None) -> bool:
    """Whether an axis of that name may vary."""
    owner = {"batch": BATCH, "height": SIZE, "width": SIZE, "rows": SIZE, "columns": SIZE}
    return axis is not None and (axis not in owner or owner[axis] in net.choices.dynamic)


def _shapes(net: Exportable) -> tuple[Any, ...]:
    """What torch.export shall take for variable, input by input."""
    dim = torch.export.Dim
    sides: dict[str, Any] = {}
    if net.padded:  # whole multiples, as batches are: strides then divide without remainder
        sides = {s: MULTIPLE * dim(s, min=1, max=MOST_MULTIPLES) for s in ("height", "width")}
    return tuple(
        {
            n: sides.get(axis or "", dim.DYNAMIC)
            for n, axis in enumerate(net.axes[name])
            if varies(net, axis)
        }
        for name in net.inputs
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch's exporters warn of their own deprecations, and of equations that they can't solve."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
