"""Files with what is known about one picture each."""
