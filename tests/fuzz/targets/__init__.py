"""The readers, by what they read; every file here is imported."""
