"""Features and predictions on other programs' clusters; each engine is a file, and an extra."""
