"""Measures: one class each with update, merge and compute."""
