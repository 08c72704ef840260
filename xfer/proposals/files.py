"""Proposals from files: xfer's own npz, COCO results, Girshick's .mat, Detectron's .pkl.

.npz, written by `xfer data proposals -o` or by numpy.savez:

name    | dtype             | shape    | meaning
ids     | text              | (N,)     | the pictures: id, file name, stem or number
boxes   | float32 or uint16 | (R, 4)   | xyxy in each picture's pixels, 0-based, right and bottom
        |                   |          | exclusive; picture by picture, best first
offsets | int64             | (N + 1,) | boxes of picture i: offsets[i] to offsets[i + 1]
names   | text              | (N,)     | optional: the pictures by what tells them apart where train
        |                   |          | and val have equal ids (`xfer.proposals.match.names_of`)
meta    | text              | ()       | JSON, optional: how they were made, and "root", the folder
        |                   |          | that the names are relative to

.json: `[{"image_id", "category_id", "bbox": [x, y, w, h], "score"}, ...]`, sorted here by score.
.mat: cells `boxes` and `images`, as for Fast R-CNN: y1 x1 y2 x2, 1-based, inclusive.
.pkl: `{"boxes": [(R, 4) xyxy ...], "ids" or "indexes": [...], "scores" or "objectness_logits"}`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.npz import read_npz
from xfer.data.readers.coco.results import read_coco_results
from xfer.data.readers.matlab import Cell, read_matlab
from xfer.errors import DataError, reader, whole
from xfer.files import NotAFile, at_home, no_file, replacing
from xfer.proposals.pickles import plain, read_numbers

FORMAT = "xfer proposals"
_XYXY, _XYWH = 0, 1  # detectron2's BoxMode


@dataclass(frozen=True)
class FileBoxes:
    """The content of a proposals file.

    ids   | N numbers or texts, as in the file
    boxes | N arrays float32 (R, 4), xyxy, best first
    coco  | whether the ids are those of a COCO json
    names | N names that tell equal ids apart, see `match.Entries`; () if the file has none
    root  | the folder that they are relative to; "" if it is not known
    """

    ids: tuple[int | str, ...]
    boxes: tuple[NDArray[np.float32], ...]
    coco: bool = False
    names: tuple[str, ...] = ()
    root: str = ""


@reader
def read_proposals(path: Path | str) -> FileBoxes:
    """Reads a proposals file; its extension decides the format. Boxes without area are left out.

    Raises: DataError for a file that is missing, broken, of an unknown format, or with boxes that
        are not finite, or mostly without area.
    """
    path = at_home(path)
    if path.suffix.casefold() not in _READERS:
        raise DataError(f"{path}: unknown proposals format", f"one of {', '.join(_READERS)}")
    if what := no_file(path):
        raise NotAFile(path, what)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    content = _READERS[path.suffix.casefold()](path)
    every = np.concatenate([np.empty((0, 4), np.float32), *content.boxes])
    if not np.isfinite(every).all():
        raise DataError(f"{path}: {int((~np.isfinite(every)).any(1).sum())} boxes are not finite")
    if len(every) and 2 * _with_area(every).sum() < len(every):
        raise DataError(
            f"{path}: most of its boxes have no area",
            "boxes must be x1, y1, x2, y2; are they x, y, width, height?",
        )
    return replace(content, boxes=tuple(one[_with_area(one)] for one in content.boxes))


def write_proposals(
    path: Path,
    ids: Sequence[str],
    boxes: Sequence[NDArray[np.float32]],
    meta: dict[str, Any],
    names: Sequence[str] = (),
) -> None:
    """Writes the npz described above. `meta`: how they were made, as JSON types."""
    every = np.concatenate([np.empty((0, 4), np.float32), *boxes])
    offsets = np.cumsum([0, *map(len, boxes)]).astype(np.int64)
    text = json.dumps({"format": FORMAT, **meta})
    arrays: dict[str, Any] = {"ids": np.array(ids, str), "boxes": every, "offsets": offsets}
    if names:
        arrays["names"] = np.array(names, str)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays, meta=np.array(text))


def _with_area(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _read_npz(path: Path) -> FileBoxes:
    wanted = ("ids", "boxes", "offsets")
    with whole(path, "damaged"):
        arrays = read_npz(path, wanted)
    lacks = [name for name in wanted if name not in arrays]
    if lacks:
        raise DataError(f"{path}: it lacks {', '.join(lacks)}", "needed: ids, boxes and offsets")
    ids, boxes, offsets = (arrays[name] for name in wanted)
    good = (
        ids.ndim == 1 and ids.dtype.kind in "Uiu"
        and boxes.ndim == 2 and boxes.shape[1] == 4 and boxes.dtype.kind in "fiu"
        and offsets.shape == (len(ids) + 1,) and offsets.dtype.kind in "iu"
        and offsets[0] == 0 and offsets[-1] == len(boxes) and (np.diff(offsets) >= 0).all()
    )  # fmt: skip
    if not good:
        raise DataError(
            f"{path}: ids {ids.shape}, boxes {boxes.shape} and offsets {offsets.shape} don't fit",
            "needed: N ids, boxes (R, 4), and N + 1 rising offsets from 0 to R",
        )
    parts = np.split(boxes.astype(np.float32), offsets[1:-1]) if len(ids) else []
    about = _own_meta(path)
    if about is None:
        return FileBoxes(tuple(ids.tolist()), tuple(parts))
    with whole(path, "damaged"):
        names = read_npz(path, ("names",)).get("names")
    if names is not None and (names.dtype.kind != "U" or names.shape != ids.shape):
        raise DataError(f"{path}: names {names.shape} and ids {ids.shape} don't fit")
    texts = () if names is None else tuple(names.tolist())
    return FileBoxes(
        tuple(ids.tolist()), tuple(parts), names=texts, root=str(about.get("root") or "")
    )


def _own_meta(path: Path) -> dict[str, Any] | None:
    """The meta of a file that `write_proposals` made; None for the files of others, in which names
    and meta may be anything."""
    with contextlib.suppress(DataError, ValueError, RecursionError):
        meta = read_npz(path, ("meta",)).get("meta")
        if meta is not None and meta.dtype.kind == "U" and meta.size == 1:
            about = json.loads(str(meta.reshape(-1)[0]))
            return about if isinstance(about, dict) and about.get("format") == FORMAT else None
    return None


def _read_coco(path: Path) -> FileBoxes:
    results = read_coco_results(path)
    corners = results.boxes_xywh.copy()
    corners[:, 2:] += corners[:, :2]
    names = {name: i for i, name in enumerate(dict.fromkeys(results.image_ids))}
    picture = np.array([names[name] for name in results.image_ids], np.int64)
    order = np.lexsort((-results.scores, picture))  # a stable sort: equal scores stay in place
    ends = np.cumsum(np.bincount(picture, minlength=len(names)))[:-1]
    parts = np.split(corners[order].astype(np.float32), ends) if names else []
    return FileBoxes(tuple(names), tuple(parts), coco=True)


def _read_mat(path: Path) -> FileBoxes:
    form = "boxes and images, cells of N, as in selective_search_data"
    content = read_matlab(path, ("boxes", "images"))
    columns = content.get("images"), content.get("boxes")
    if not isinstance(columns[0], Cell) or not isinstance(columns[1], Cell):
        raise DataError(f"{path}: it lacks boxes or images", form)
    names, cells = columns[0].items, columns[1].items
    if len(names) != len(cells):
        raise DataError(f"{path}: {len(names)} images but {len(cells)} boxes", form)
    parts = [
        _rows(path, cell)[:, [1, 0, 3, 2]] - np.array([1, 1, 0, 0], np.float32) for cell in cells
    ]
    return FileBoxes(tuple(_cell_text(path, name) for name in names), tuple(parts))


def _cell_text(path: Path, cell: Any) -> int | str:
    value = np.asarray(cell).ravel()
    if value.size != 1 or value.dtype.kind not in "Uiu":
        raise DataError(f"{path}: an entry of images is not a name")
    return value.tolist()[0]


def _read_pickle(path: Path) -> FileBoxes:
    form = '{"boxes": [...], "ids" or "indexes": [...], "scores": [...]}'
    content = read_numbers(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: a {type(content).__name__}, not proposals", form)

    def column(*names: str) -> list[Any] | None:
        value = next((plain(content[name]) for name in names if name in content), None)
        value = value.tolist() if isinstance(value, np.ndarray) else value
        return value if isinstance(value, list) else None

    boxes, ids = column("boxes"), column("ids", "indexes")
    scores = column("scores", "objectness_logits")
    if boxes is None or ids is None or len(boxes) != len(ids):
        raise DataError(f"{path}: boxes or ids are missing, or differ in number", form)
    if any(not isinstance(name, (int, str)) for name in ids):
        raise DataError(f"{path}: an id is neither a number nor a text", form)
    mode = content.get("bbox_mode", _XYXY)
    if mode not in (_XYXY, _XYWH):
        raise DataError(f"{path}: unknown bbox_mode {mode}", "0: xyxy, 1: xywh")
    parts = [_rows(path, one) for one in boxes]
    if mode == _XYWH:
        parts = [np.concatenate([one[:, :2], one[:, :2] + one[:, 2:]], 1) for one in parts]
    if scores is not None:
        if len(scores) != len(parts):
            raise DataError(f"{path}: {len(parts)} pictures but scores for {len(scores)}", form)
        parts = [_by_score(path, *both) for both in zip(parts, scores, strict=True)]
    return FileBoxes(tuple(ids), tuple(parts), coco=True)


def _rows(path: Path, value: Any) -> NDArray[np.float32]:
    """Boxes of a picture as float32 (R, 4)."""
    try:
        boxes = np.asarray(plain(value))
        if boxes.size == 0:
            return np.empty((0, 4), np.float32)
        if boxes.ndim == 2 and boxes.shape[1] == 4 and boxes.dtype.kind in "fiu":
            return boxes.astype(np.float32)
    except ValueError:  # rows of different lengths
        pass
    raise DataError(f"{path}: a picture's boxes are not numbers of shape (R, 4)")


def _by_score(path: Path, boxes: NDArray[np.float32], scores: Any) -> NDArray[np.float32]:
    try:
        values = np.asarray(plain(scores), np.float64).reshape(-1)
    except (ValueError, TypeError):
        values = np.empty(0)
    if len(values) != len(boxes) or not np.isfinite(values).all():
        raise DataError(f"{path}: a picture has {len(boxes)} boxes but not as many finite scores")
    return boxes[np.argsort(-values, kind="stable")]


_READERS: dict[str, Callable[[Path], FileBoxes]] = {
    ".npz": _read_npz, ".json": _read_coco, ".mat": _read_mat, ".pkl": _read_pickle,
}  # fmt: skip
