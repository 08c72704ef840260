"""The feature cache: a net's vectors, stored by the picture's content."""

from xfer.cache import Cache as FeatureCache
from xfer.cache import CacheState, cache_file, limit_bytes, packed, unpacked

__all__ = ["CacheState", "FeatureCache", "cache_file", "limit_bytes", "packed", "unpacked"]
