"""A run's log for other programs: run.track=csv,tensorboard."""
