"""Predicted segments, compressed in memory, and as tables, csv and COCO's panoptic json."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from xfer.objects.segments import Segments
from xfer.types import PanopticPrediction

COLUMNS = ("id", "segment", "label", "score", "area", "x1", "y1", "x2", "y2")
_NONE = np.zeros((0, 0), np.int32)


class KeptSegments(Sequence[PanopticPrediction]):
    """Predictions whose maps are compressed until they are needed."""

    def __init__(self) -> None:
        self._kept: list[tuple[PanopticPrediction, tuple[int, int], bytes]] = []

    def extend(self, predictions: Iterable[PanopticPrediction]) -> None:
        for one in predictions:
            packed = zlib.compress(one.segments.map.tobytes(), 1)
            bare = replace(one, segments=one.segments.mapped(_NONE))
            self._kept.append((bare, one.size, packed))

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, i: int) -> PanopticPrediction: ...
    @overload
    def __getitem__(self, i: slice) -> list[PanopticPrediction]: ...
    def __getitem__(self, i: int | slice) -> PanopticPrediction | list[PanopticPrediction]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        one, size, packed = self._kept[i]
        whole = np.frombuffer(zlib.decompress(packed), np.int32).reshape(size)
        return replace(one, segments=one.segments.mapped(whole))


def counts_in_words(segments: Segments, classes: Sequence[str]) -> str:
    """How many segments there are of each class: "2 cat, 1 grass", of at most four classes."""
    own = segments.without_empty()
    counts = Counter(classes[c] for c in own.labels.tolist()).most_common()
    more = sum(n for _, n in counts[4:])
    some = [f"{n} {name}" for name, n in counts[:4]] + ([f"{more} more"] if more else [])
    return ", ".join(some) or "no segments"


def row(prediction: PanopticPrediction, classes: Sequence[str]) -> dict[str, Any]:
    """{"id", "width", "height", "segments": [{"label", "score", "area", "box"}, ...]}."""
    segments, (height, width) = prediction.segments, prediction.size
    columns = zip(segments.labels.tolist(), prediction.scores.tolist(), segments.areas().tolist(),
                  segments.boxes().tolist(), strict=True)  # fmt: skip
    return {
        "id": prediction.id, "width": width, "height": height,
        "segments": [
            {"label": classes[c], "score": round(score, 6), "area": area, "box": box}
            for c, score, area, box in columns
        ],
    }  # fmt: skip


def table_row(prediction: PanopticPrediction, classes: Sequence[str]) -> dict[str, Any]:
    """One line per picture: its size, and how many segments it has of each class."""
    height, width = prediction.size
    return {
        "id": prediction.id, "size": f"{width} x {height}", "segments": len(prediction.segments),
        "found": counts_in_words(prediction.segments, classes),
    }  # fmt: skip


def csv_rows(prediction: PanopticPrediction, classes: Sequence[str]) -> list[dict[str, Any]]:
    """One dict per segment, with the keys of COLUMNS."""
    own = row(prediction, classes)
    return [
        dict(zip(COLUMNS, (own["id"], k, one["label"], one["score"], one["area"], *one["box"]),
                 strict=True))
        for k, one in enumerate(own["segments"])
    ]  # fmt: skip


def coco_panoptic(
    predictions: Sequence[PanopticPrediction], category_ids: Sequence[int | str],
    files: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """COCO's panoptic results, for the PNGs that `draw` writes; panopticapi and `xfer eval
    --detections` read them.

    image_id is the file's stem if it is a number (000000000139.jpg: 139), else the file's name.

    Args: category_ids: the annotation file's id of each class; files: name of each one's PNG.
    """
    from xfer.drawing.segments import segment_ids

    annotations: list[dict[str, Any]] = []
    for prediction, name in zip(predictions, files, strict=True):
        file, segments = Path(prediction.id), prediction.segments
        columns = zip(segment_ids(segments).tolist(), segments.labels.tolist(),
                      segments.areas().tolist(), segments.boxes().astype(int).tolist(),
                      strict=True)  # fmt: skip
        annotations.append({
            "image_id": int(file.stem) if file.stem.isdecimal() else file.name,
            "file_name": name,
            "segments_info": [
                {"id": key, "category_id": category_ids[c], "area": area,
                 "bbox": [x1, y1, x2 - x1, y2 - y1]}
                for key, c, area, (x1, y1, x2, y2) in columns
            ],
        })  # fmt: skip
    return {"annotations": annotations}
