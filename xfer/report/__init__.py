"""Pictures of a run, drawn with matplotlib's Agg; imported when something is drawn."""
