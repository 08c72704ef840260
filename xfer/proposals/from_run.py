"""Proposals from a trained detector's own proposal network: --method run:DIR.

Saved to a file, they train another detector (task.proposals=file:PATH), as in the first two steps
of Faster R-CNN's alternating training (Ren et al. 2015, sec. 3.2).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from xfer.errors import XferError
from xfer.proposals.search import Tick
from xfer.proposals.stored import StoredProposals
from xfer.task import Proposes
from xfer.types import Source

if TYPE_CHECKING:
    from xfer.inference.model import Model


def propose_by_run(
    model: Model, source: Source, method: str, max_boxes: int, tick: Tick | None = None
) -> StoredProposals:
    """Proposals for all pictures of a source, one picture at a time, one view of each.

    Args:
        model: of a run whose task proposes regions.
        method: the proposals' name, run:DIR.
        max_boxes: maximum number of boxes per picture; best first.
        tick: called with (pictures done, pictures in total).

    Raises: XferError if the model has no proposal network; DataError for a picture that can't
        be decoded.
    """
    task = model.task
    if not isinstance(task, Proposes):
        raise XferError(f"{method}: {type(task).__name__.lower()} proposes no regions")
    transform, unused = task.transform(False), np.random.default_rng(0)
    boxes: list[NDArray[np.float32]] = []
    seconds: list[float] = []
    for i in range(len(source)):
        sample = source[i]
        start = time.process_time()
        with torch.inference_mode(), model.place.autocast():
            batch = model.task.collate([transform(sample, unused)]).to(model.place.device)
            boxes.append(task.propose(batch, max_boxes)[0].float().cpu().numpy())
        seconds.append(time.process_time() - start)
        if tick is not None:
            tick(i + 1, len(source))
    return StoredProposals(method, source.ids, boxes, np.array(seconds, np.float32))
