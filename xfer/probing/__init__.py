"""Probes: classifiers on frozen features, tuned only on the training pictures."""
