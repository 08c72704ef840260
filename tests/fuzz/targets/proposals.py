"""Proposals, in the formats of all who write them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from fuzz import case as cases
from fuzz.case import Case
from fuzz.target import target
from xfer.data.sources.base import ArraySource
from xfer.proposals.files import read_proposals, write_proposals
from xfer.proposals.match import match_entries
from xfer.proposals.stored import StoredProposals
from xfer.types import DataInfo

_IDS = ("a/0.jpg", "a/1.jpg", "b/2.jpg")
_BOXES = [
    np.array([[10, 20, 110, 220], [0, 0, 5, 5]], np.float32),
    np.array([[1, 2, 3, 4]], np.float32),
    np.empty((0, 4), np.float32),
]


def proposals(folder: Path) -> list[Case]:
    write_proposals(folder / "p.npz", _IDS, _BOXES, {"method": "grid"})
    cells, names = np.empty((1, 3), object), np.empty((3, 1), object)
    cells[0] = [one[:, [1, 0, 3, 2]].astype(np.float64) + 1 for one in _BOXES]
    names[:, 0] = ["0", "1", "2"]
    for compressed in (False, True):
        content = {"boxes": cells, "images": names}
        savemat(folder / f"{compressed}.mat", content, do_compression=compressed)
    rows = [
        {"image_id": i, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5} for i in range(3)
    ]
    scores = [np.ones(len(one), np.float32) for one in _BOXES]
    lists: dict[str, Any] = {"boxes": [one.tolist() for one in _BOXES], "indexes": [0, 1, 2]}
    arrays = {"boxes": _BOXES, "ids": list(_IDS), "objectness_logits": scores, "bbox_mode": 0}
    made = [cases.of_file(folder / name) for name in ("p.npz", "False.mat", "True.mat")]
    made.append({"p.json": json.dumps(rows).encode()})
    made += [{"p.pkl": pickle.dumps(lists, protocol=4)}]
    return made + [{"p.pkl": pickle.dumps(arrays, protocol=p)} for p in (0, 2, 5)]


@target("proposals", proposals)
def use(path: Path) -> None:
    """As --proposals file:PATH reads them."""
    found = read_proposals(path)
    info = DataInfo("pictures", "images", ())
    images = np.zeros((3, 30, 20, 3), np.uint8)
    source = ArraySource(info, images, np.full(3, -1, np.int64), _IDS)
    if found.boxes:
        StoredProposals("file", [str(i) for i in found.ids], found.boxes).of(0)
    match_entries(found, source, str(path))
