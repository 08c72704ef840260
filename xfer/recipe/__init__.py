"""Recipes: their tables, their TOML, and which one a command uses."""
