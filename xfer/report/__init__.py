"""Figures of a run, drawn with matplotlib's Agg; imported only when something is drawn."""
