"""Packs: pictures laid end to end in a few large files."""
