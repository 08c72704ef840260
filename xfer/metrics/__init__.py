"""Measures: one class each with update and compute; state and load_states join processes."""
