"""Where objects may be: boxes a picture, computed from it or read from a file."""
