"""Metrics: each a class with update and compute; state and load_states join processes."""
