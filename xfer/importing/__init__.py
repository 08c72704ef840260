"""Models of other tools, read from their own files and written as runs."""
