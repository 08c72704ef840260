"""Frozen features as a scikit-learn transformer: pictures in, one row of numbers each out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from xfer import plugs
from xfer.data.images.decode import DecodeError
from xfer.device import Place
from xfer.errors import DataError
from xfer.extraction.cache import FeatureCache, cache_file, limit_bytes
from xfer.extraction.items import Items
from xfer.extraction.net import Choice, FeatureNet, fixed_options, layer_names, shared_net
from xfer.extraction.stream import parts


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Extracts the features of pictures from a frozen backbone.

        make_pipeline(FeatureExtractor("alexnet", layer="pool5"), LinearSVC()).fit(paths, labels)

    Nothing is learnt: `fit` reads no picture, `transform` works without it. The net is loaded once
    per process and shared by all extractors with the same parameters; a pickle holds only the
    parameters. Vectors are cached under $XFER_CACHE, so folds and grids compute each picture once.

    Args:
        backbone, weights: as in `create_backbone`.
        layer: a name, or several ("pool5,fc7"), whose rows are concatenated.
        pool: flatten, avg, max or grid2: how a map becomes a vector.
        crops: centre, flip or 10crop; views: mean or concat.
        size: input side in pixels; 0: the net's own.
        batch: pictures per pass of the net.
        device, precision: auto, or as on the command line.
        options: of the backbone; cache: look up and store vectors.
        workers: threads that read pictures; -1: one per core.
        trust: your own modules, besides the backbone's, that a run given as weights may name.

    Shapes: transform: N pictures -> float32 (N, D); pictures are paths, PIL images, encoded bytes,
        arrays (H, W, 3), (H, W) or (H, W, 4) or tensors (3, H, W), of uint8 or of floats in 0..1
    Raises: XferError for unknown names or inputs that are no pictures, DataError for files that
        can't be read.
    """

    def __init__(
        self,
        backbone: str = "alexnet",
        weights: str = "imagenet",
        layer: str | Sequence[str] = "pool5",
        pool: str = "flatten",
        crops: str = "centre",
        views: str = "mean",
        size: int = 0,
        batch: int = 64,
        device: str = "auto",
        precision: str = "auto",
        options: Mapping[str, Any] | None = None,
        cache: bool = True,
        workers: int = -1,
        trust: str | Sequence[str] = (),
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.layer = layer
        self.pool = pool
        self.crops = crops
        self.views = views
        self.size = size
        self.batch = batch
        self.device = device
        self.precision = precision
        self.options = options
        self.cache = cache
        self.workers = workers
        self.trust = trust

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Checks the parameters; reads no picture."""
        self._choice().check()
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """N pictures -> float32 (N, D)."""
        return np.concatenate(list(self.extract(X).values()), axis=1)

    def extract(self, X: Any) -> dict[str, NDArray[np.float32]]:
        """N pictures, or a Source -> layer -> float32 (N, D)."""
        source, net = X if hasattr(X, "fingerprint") else Items(X), self._net()
        if not len(source):
            raise DataError("no pictures given")
        cache = FeatureCache(cache_file() if self.cache else None, limit_bytes(), _warn)
        layers: dict[str, NDArray[np.float32]] = {}
        try:
            for part in parts(source, net, cache, batch=self.batch, workers=self.workers):
                for name in net.layers:
                    values = part.layers[name]
                    if name not in layers:
                        layers[name] = np.empty((len(source), values.shape[1]), np.float32)
                    layers[name][part.rows] = values
        except DecodeError as error:
            raise DataError(error.message, "leave this picture out") from error
        finally:
            cache.close()
        return layers

    @property
    def place(self) -> Place:
        """The device and precision that the net runs in; loads it."""
        return self._net().place

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """D names, pool5_0 ... pool5_9215: the layer and the index in its vector."""
        net = self._net()
        names = [f"{layer}_{i}" for layer, width in net.widths().items() for i in range(width)]
        return np.array(names, object)

    def _net(self) -> FeatureNet:
        with plugs.naming(self.backbone, trust=self.trust):
            return shared_net(self._choice())

    def _choice(self) -> Choice:
        return Choice(
            self.backbone, str(self.weights), layer_names(self.layer), self.pool, self.crops,
            self.views, self.size, self.device, self.precision,
            fixed_options(self.options),
        )  # fmt: skip

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True  # pictures are checked here, not by check_array
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _warn(text: str) -> None:
    import warnings

    warnings.warn(text, RuntimeWarning, stacklevel=2)
