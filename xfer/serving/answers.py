"""What the server says of a picture: predict's row, and what the page draws with it."""

from __future__ import annotations

import base64
import io
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xfer.data.images.decode import decode
from xfer.data.images.decode_error import DecodeError
from xfer.data.images.unread import kind_of
from xfer.drawing.heat import heat_layer
from xfer.explain.contract import Explains
from xfer.inference.model import Model
from xfer.kinds.base import Kind
from xfer.kinds.joint import JointKind

SHOWN = 1600  # longest side of what is drawn for the page, pixels
_HEAD = 1 << 16


class NoPicture(DecodeError):
    """The file is no picture, or of a kind that is not read."""


@dataclass(frozen=True)
class Answers:
    """A model, and how it is asked. Args: tta: the views; empty: the run's own."""

    model: Model
    tta: str = ""

    def predict(self, data: bytes, name: str) -> dict[str, Any]:
        """The row that `xfer predict --format json` has for a file of these bytes.

        Raises: NoPicture, DecodeError for a damaged file or a too large picture.
        """
        return self._look(data, name)[0]

    def look(self, data: bytes, name: str) -> dict[str, Any]:
        """The row, and what the page shows with it.

        prediction | the row
        size       | [width, height] of the picture, upright, in whose pixels boxes are
        layer      | a PNG to lay over it, as a data URI, or None
        colours    | class name -> colour, for boxes and layers
        explains   | whether `explain` can answer
        seconds    | {"decode": s, "net": s}
        """
        row, prediction, size, seconds = self._look(data, name)
        kind, classes = self.model.task.kind, self.model.classes
        layer = kind.layer(prediction, classes, SHOWN)
        return {
            "prediction": row,
            "size": size,
            "layer": None if layer is None else _png(layer),
            "colours": _colours(kind, classes),
            "explains": isinstance(self.model.task, Explains),
            "seconds": seconds,
        }

    def explain(self, data: bytes, name: str, label: str = "") -> dict[str, Any]:
        """Where in the picture a class was found: Grad-CAM.

        Args: label: the name of a class; empty: the one that is predicted.
        Returns: "label", "layer": a PNG to lay over the picture, as a data URI, "box" if it is a
            detection that is explained, and "seconds".
        Raises: as `predict`, and XferError for an unknown class, if there is nothing of it in the
            prediction, and for a task that can't be explained.
        """
        started = time.perf_counter()
        pixels = _pixels(data, name, self.model.task.short_side)
        found = self.model.explain(pixels, label or None)
        return {
            "label": found.label,
            "layer": _png(heat_layer(found.heat, SHOWN)),
            "box": plain(found.target.box),
            "seconds": time.perf_counter() - started,
        }

    def picture(self, data: bytes, name: str) -> bytes:
        """A JPEG of the picture, for browsers that can't show the file itself. Raises: as
        `predict`."""
        image = Image.fromarray(_pixels(data, name, 0))
        image.thumbnail((SHOWN, SHOWN))
        out = io.BytesIO()
        image.save(out, format="jpeg", quality=90)
        return out.getvalue()

    def _look(
        self, data: bytes, name: str
    ) -> tuple[dict[str, Any], Any, list[int], dict[str, float]]:
        started = time.perf_counter()
        # as a file is read, so that the scores are the same to the last digit
        pixels = _pixels(data, name, self.model.task.short_side)
        decoded = time.perf_counter()
        predictions = self.model.predict(pixels, tta=self.tta)
        seconds = {"decode": decoded - started, "net": time.perf_counter() - decoded}
        row = plain({**predictions.to_json()[0], "id": name})
        height, width = pixels.shape[:2]
        return row, predictions[0], [width, height], seconds


def _colours(kind: Kind, classes: Sequence[str]) -> dict[str, str]:
    """Class name -> colour; of several heads the last one's that has the name."""
    if isinstance(kind, JointKind):
        each = (_colours(part, kind.classes_of(part, classes)) for part in kind.parts)
        return {name: colour for own in each for name, colour in own.items()}
    return {name: kind.colour(c) for c, name in enumerate(classes)}


def _pixels(data: bytes, name: str, short_side: int) -> NDArray[np.uint8]:
    """Raises NoPicture and DecodeError, which name the file."""
    try:
        return decode(data, short_side)
    except DecodeError as error:
        kind = DecodeError if kind_of(data[:_HEAD]) else NoPicture
        raise kind(error.reason, name) from error


def _png(pixels: NDArray[np.uint8]) -> str:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="png", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def plain(value: Any) -> Any:
    """A row in JSON's types: arrays become lists, non-finite numbers null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return plain(value.tolist()) if hasattr(value, "tolist") else value
