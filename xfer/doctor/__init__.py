"""Looks for what is wrong in data before anything is trained on them."""
