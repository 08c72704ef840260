"""Draw labels and predictions on pictures."""
