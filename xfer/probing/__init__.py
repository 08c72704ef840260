"""Probes: a classifier on frozen features, chosen on the training pictures alone."""
