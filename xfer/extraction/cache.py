"""The cache of features: vectors of what a net sees, kept by content."""

from xfer.cache import Cache as FeatureCache
from xfer.cache import CacheState, cache_file, limit_bytes, packed, unpacked

__all__ = ["CacheState", "FeatureCache", "cache_file", "limit_bytes", "packed", "unpacked"]
