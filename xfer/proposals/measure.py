"""Proposals for a data set, and how well they cover its boxes: `xfer data proposals`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.inspect.verify import find_bad
from xfer.data.open import find_part, limited
from xfer.data.readers.base import ReadOptions
from xfer.data.sources.base import stamp, subset
from xfer.data.spec import open_spec
from xfer.errors import DataError
from xfer.files import write_text
from xfer.inference.scored import training_warnings
from xfer.kinds.annotation import annotation
from xfer.proposals.files import write_proposals
from xfer.proposals.from_run import propose_by_run
from xfer.proposals.match import names_of
from xfer.proposals.propose import MAX_BOXES, check_method, propose
from xfer.proposals.recall import PROTOCOL, Recall, RecallMeter
from xfer.proposals.search import Tick
from xfer.proposals.stored import Proposals, StoredProposals
from xfer.runs.folder import Run
from xfer.types import Source

if TYPE_CHECKING:
    from xfer.inference.model import Model


@dataclass(frozen=True)
class Measured:
    """Proposals of a set, and how well they cover its boxes.

    data, method, split, max_boxes | as requested; split "": all pictures of the set, each once
    ids     | N ids, unique in a split
    names   | N names, unique in the data, below the folder `root` (`match.names_of`)
    boxes   | N arrays float32 (R, 4), best first
    recall  | against the number of boxes
    seconds | mean CPU time per picture; None for a file
    """

    data: str
    method: str
    split: str
    max_boxes: int
    ids: tuple[str, ...]
    names: tuple[str, ...]
    root: str
    boxes: tuple[NDArray[np.float32], ...]
    recall: Recall
    seconds: float | None

    def document(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        counts = [len(one) for one in self.boxes]
        rows = self.recall.rows()
        return {
            "data": self.data,
            "split": self.split or "all",
            "method": self.method,
            "images": len(self.ids),
            "boxes": self.recall.boxes,
            "left_out": self.recall.left_out,
            **{key: rows[-1][key] for key in ("recall_50", "recall_70", "mabo")},
            "boxes_per_image": float(np.mean(counts)),
            "max_boxes": max(counts),
            "seconds_per_image_core": self.seconds,
            "curve": rows,
            "per_class": self.recall.per_class,
            "protocol": {
                **PROTOCOL,
                "seconds": "CPU time per picture of the search, measured when it ran, or of a "
                "run's net; without reading and decoding",
            },
        }

    def write(self, path: Path) -> None:
        """Writes the boxes as the npz that file:PATH reads."""
        meta = {
            "method": self.method,
            "most": self.max_boxes,
            "data": self.data,
            "split": self.split,
            "root": self.root,
        }
        write_proposals(path, self.ids, self.boxes, meta, self.names)

    def write_report(self, folder: Path) -> None:
        """Writes recall.json, and recall.png with the curves."""
        from xfer.report.recall import recall_curves

        folder.mkdir(parents=True, exist_ok=True)
        recall_curves(self.recall, folder / "recall.png", f"{self.method} on {self.data}")
        text = json.dumps(self.document(), indent=1, ensure_ascii=False)
        write_text(folder / "recall.json", f"{text}\n")


def measure(
    spec: Any,
    method: str,
    *,
    model: Model | None = None,
    split: str = "",
    limit: int = 0,
    seed: int = 0,
    max_boxes: int = MAX_BOXES,
    workers: int = -1,
    skip_bad: bool = False,
    data_keys: Mapping[str, Any] | None = None,
    tick: Tick | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Makes proposals for the pictures of a data set and measures how well they cover its boxes.

    Args:
        spec: data with boxes.
        method: selective_search, grid or file:PATH; with `model`, the name for its proposals.
        model: a trained detector; if given, its proposals are measured.
        split: a split's name or role; "": all splits, each picture once.
        limit: the first N of each split, shuffled by `seed`; 0: all.
        max_boxes, workers, tick: as in `propose`.
        skip_bad: leave out invalid boxes and pictures that can't be decoded.
        data_keys: images, path, label, split, as in `ReadOptions`.
        say: called with one line per note or file left out.

    Raises: as `propose`; XferError for a run without a proposal network;
        DataError for data without boxes.
    """
    if model is None:
        check_method(method)
    named = (split,) if split else ()
    opened = open_spec(spec, ReadOptions(named, skip_bad, **data_keys or {}), ("detect",))
    reading = opened.reading
    parts = reading.parts
    if split:
        name = find_part(opened.name, parts, split)
        parts = {name: parts[name]}
    for note in reading.notes:
        say(note)
    for file, reason in reading.skipped:
        say(f"left out: {file}: {reason}")
    sources = _each_once(opened.name, parts, limit, seed)
    if skip_bad:
        sources = [_decodable(source, say) for source in sources]
    if model is not None and model.path is not None:
        for source in sources:
            for line in training_warnings(Run(model.path), model.task, source):
                say(line)
    total = sum(map(len, sources))
    meter = RecallMeter(max_boxes)
    ids: list[str] = []
    boxes: list[NDArray[np.float32]] = []
    seconds: list[float] = []
    for source in sources:
        before = len(ids)
        source_tick = tick and (
            lambda done, _, before=before, tick=tick: tick(before + done, total)
        )
        if model is None:
            proposals = propose(
                source, method, max_boxes=max_boxes, workers=workers, warn=say, tick=source_tick
            )
        else:
            proposals = propose_by_run(model, source, method, max_boxes, source_tick)
        for i, name in enumerate(source.ids):
            picture_boxes, cost = _timed(proposals, i)
            truth = annotation(source, i)
            classes = [source.info.classes[label] for label in truth.labels.tolist()]
            meter.add(picture_boxes, truth.xyxy, classes, truth.ignored)
            ids.append(name)
            boxes.append(picture_boxes)
            seconds += cost
    try:
        recall = meter.compute()
    except ValueError:
        raise DataError(f"{opened.name}: no boxes to compare with in {total} pictures") from None
    mean = float(np.mean(seconds)) if seconds else None
    names, root = names_of(sources, reading.parts.values())
    return Measured(
        str(spec), method, split, max_boxes, tuple(ids), tuple(names), root, tuple(boxes),
        recall, mean,
    )  # fmt: skip


def _each_once(title: str, parts: dict[str, Source], limit: int, seed: int) -> list[Source]:
    """The parts with boxes, each without the pictures of earlier parts."""
    seen: set[tuple[str, str]] = set()
    sources: list[Source] = []
    for name, part in parts.items():
        if not kinds.get(part.info.kind).boxes:
            continue
        keys = [(part.ids[i], stamp(part, i) or name) for i in range(len(part))]
        fresh = [i for i, key in enumerate(keys) if key not in seen]
        seen.update(keys)
        source = subset(part, fresh)
        sources.append(limited(source, limit, seed) if limit else source)
    if not sources:
        held = ", ".join(dict.fromkeys(kinds.get(p.info.kind).holds for p in parts.values()))
        raise DataError(f"{title} holds {held}: no boxes to compare with")
    return [source for source in sources if len(source)]


def _decodable(source: Source, say: Callable[[str], None]) -> Source:
    bad = dict(find_bad(source))
    for i, reason in bad.items():
        say(f"left out: {source.ids[i]}: {reason}")
    return subset(source, [i for i in range(len(source)) if i not in bad])


def _timed(proposals: Proposals, i: int) -> tuple[NDArray[np.float32], list[float]]:
    """The boxes of picture i and, except for files, the seconds it took to make them."""
    start = time.thread_time()
    boxes = proposals.of(i)
    spent = time.thread_time() - start
    if not isinstance(proposals, StoredProposals):
        return boxes, [spent]
    return boxes, [] if proposals.seconds is None else [float(proposals.seconds[i])]
