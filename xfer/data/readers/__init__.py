"""Readers, one per format: they turn a user's files into sources."""
