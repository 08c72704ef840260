"""Batches: order, threads, collation."""
