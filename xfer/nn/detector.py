"""What a detector adds to a backbone: the pooled map, hidden layers, outputs and proposals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from xfer.nn.box_head import BoxOutputs, HiddenLayers
from xfer.nn.merge import MergedMap
from xfer.nn.roi_pool import pool_regions
from xfer.nn.rpn import RegionProposalNet, RPNRules
from xfer.types import FeatureSpec


class DetectorHead(nn.Module):
    """Fast R-CNN's new layers, and Faster R-CNN's.

    Args:
        specs: maps that regions are pooled from, finest first; width: channels of the merged map
            if there are several.
        pool, pool_size: how regions are pooled, and the side of the pooled grid, cells.

    merge   | merges several maps into one, or None
    hidden  | fresh fc6 and fc7, or None if the backbone's own are used
    outputs | classes and boxes
    rpn     | the proposal network, or None
    spec    | geometry of the map that regions are pooled from
    """

    def __init__(self, specs: Sequence[FeatureSpec], width: int, pool: str, pool_size: int) -> None:
        super().__init__()
        self.names = tuple(spec.name for spec in specs)
        self.merge = MergedMap(specs, width) if len(specs) > 1 else None
        self.spec = specs[0] if self.merge is None else self.merge.spec
        self.pool, self.pool_size = pool, pool_size
        self.hidden: HiddenLayers | None = None
        self.outputs: BoxOutputs | None = None
        self.rpn: RegionProposalNet | None = None

    def add_outputs(self, hidden: int, fresh: bool, classes: int, agnostic: bool) -> None:
        """Outputs on vectors of `hidden` units; `fresh`: with new layers that produce them."""
        if fresh:
            self.hidden = HiddenLayers(self.spec.channels, self.pool_size, hidden)
        self.outputs = BoxOutputs(hidden, classes, agnostic)

    def add_rpn(self, width: int, sizes: Tensor, rules: RPNRules, step: int) -> None:
        """A proposal network with anchors of these sizes (K, 2)."""
        self.rpn = RegionProposalNet(self.spec, width, sizes, rules, step)

    def map_of(self, maps: Mapping[str, Tensor]) -> Tensor:
        """The map that regions are pooled from, made from the backbone's maps."""
        return maps[self.names[0]] if self.merge is None else self.merge(maps)

    def forward(
        self, maps: Tensor, regions: Sequence[Tensor], tail: nn.Module | None
    ) -> tuple[Tensor, Tensor]:
        """Scores (R, C + 1) and box offsets (R, C or 1, 4) of all pictures' regions.

        Args: regions: N tensors (R_n, 4); tail: the backbone's fc6 and fc7 if they are used.
        """
        pooled = pool_regions(maps, regions, self.spec, self.pool_size, self.pool)
        layers = self.hidden or tail
        assert layers is not None and self.outputs is not None
        return self.outputs(layers(pooled))
