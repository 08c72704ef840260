"""The proposals of each of a detector's sources, computed once and passed to its transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.proposals.propose import propose, propose_one
from xfer.proposals.search import ticker
from xfer.proposals.stored import Proposals
from xfer.types import Sample, Source


class ProposalsBySource:
    """Sources with their proposals. Copies of a model share it.

    Args: method, max_boxes: as in `xfer.proposals.propose.propose`.
    """

    def __init__(self, method: str, max_boxes: int) -> None:
        self.method, self.max_boxes = method, max_boxes
        self._prepared: list[tuple[Source, Proposals]] = []
        self._last: Proposals | None = None

    def prepare(self, source: Source, say: Callable[[str], None] | None = None) -> None:
        """Computes or reads the proposals of a source, unless that is already done.

        Args: say: called with progress now and then, and when the cache can't store more.
        """
        # by source, not by id: train and val may both have a picture named 1.jpg
        if all(seen is not source for seen, _ in self._prepared):
            tick = None if say is None else ticker(say, f"{self.method}: ")
            proposals = propose(source, self.method, max_boxes=self.max_boxes, tick=tick, warn=say)
            self._prepared.append((source, proposals))
        self._last = self.of(source)

    def of(self, source: Source) -> Proposals:
        """The proposals of a source that was prepared."""
        return next(boxes for seen, boxes in self._prepared if seen is source)

    def lookup(self) -> Callable[[Sample], NDArray[np.float32]]:
        """A function (sample) -> its proposals: those of the source prepared last, or newly
        computed ones for a picture that is not in this source."""
        proposals = self._last
        ids = frozenset(proposals.ids) if proposals is not None else frozenset[str]()

        def proposals_of(sample: Sample) -> NDArray[np.float32]:
            if proposals is not None and sample.id in ids:
                return proposals.of(sample.id)
            return propose_one(sample.image, self.method, self.max_boxes)

        return proposals_of

    def __deepcopy__(self, memo: dict[int, Any]) -> ProposalsBySource:
        return self
