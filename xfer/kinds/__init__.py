"""Kinds of data: what is known of a picture, and all that depends on it."""

from xfer.kinds.base import KINDS, Kind, get, register, words

__all__ = ["KINDS", "Kind", "get", "register", "words"]
