"""Packs: pictures stored end to end in a few large files."""
