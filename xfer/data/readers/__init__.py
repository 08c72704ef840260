"""Readers, one per format: what turns files as people have them into sources."""
