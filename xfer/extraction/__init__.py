"""Extracts features from a frozen backbone, as arrays, files and a scikit-learn transformer."""

from xfer.extraction.store import Features, read_features, write_features

__all__ = ["Features", "read_features", "write_features"]
