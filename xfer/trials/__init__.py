"""Experiments: several runs on the same pictures, compared fairly. `sweep` is `xfer sweep`."""
