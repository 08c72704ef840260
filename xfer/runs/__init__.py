"""Run folders: written, listed, and turned into weight files."""
