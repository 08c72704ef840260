"""Recipes: their tables, TOML, and which one a command means."""
