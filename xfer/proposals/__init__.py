"""Region proposals: boxes per picture that may hold an object, computed or read from a file."""
