"""Frozen features: what a pretrained net sees in pictures, as arrays, files and a transformer."""

from xfer.extraction.store import Features, read_features, write_features

__all__ = ["Features", "read_features", "write_features"]
