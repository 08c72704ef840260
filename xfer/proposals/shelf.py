"""The proposals that a detector's sources have, made once, and handed to its transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.proposals.kept import Proposals
from xfer.proposals.program import propose, propose_one
from xfer.proposals.search import ticker
from xfer.types import Sample, Source


class Shelf:
    """Sources with their proposals. A copy of a model shares it.

    Args: method, most: as in `xfer.proposals.program.propose`.
    """

    def __init__(self, method: str, most: int) -> None:
        self.method, self.most = method, most
        self._kept: list[tuple[Source, Proposals]] = []
        self._last: Proposals | None = None

    def prepare(self, source: Source, say: Callable[[str], None] | None = None) -> None:
        """Computes or reads the proposals of a source, where that was not done before.

        Args: say: told how many pictures are done, now and then, and when nothing is kept any more.
        """
        # by source, not by id: train and val may both have a picture called 1.jpg
        kept = next((found for known, found in self._kept if known is source), None)
        if kept is None:
            tick = None if say is None else ticker(say, f"{self.method}: ")
            kept = propose(source, self.method, most=self.most, tick=tick, warn=say)
            self._kept.append((source, kept))
        self._last = kept

    def giver(self) -> Callable[[Sample], NDArray[np.float32]]:
        """(sample) -> its proposals: those of the source that was prepared last, and computed ones
        for a picture that this source does not have."""
        kept = self._last
        known = frozenset(kept.ids) if kept is not None else frozenset[str]()

        def proposals_of(sample: Sample) -> NDArray[np.float32]:
            if kept is not None and sample.id in known:
                return kept.of(sample.id)
            return propose_one(sample.image, self.method, self.most)

        return proposals_of

    def __deepcopy__(self, memo: dict[int, Any]) -> Shelf:
        return self
