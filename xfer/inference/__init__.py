"""Trained models: loaded, scored, compressed, and what they say of pictures."""
