"""What lets only one process at a time write somewhere."""
