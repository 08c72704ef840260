"""Several tasks as heads on one trunk: what `tasks/multi.py` is made of."""
