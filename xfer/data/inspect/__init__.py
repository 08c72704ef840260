"""Data looked at before anything trains."""
