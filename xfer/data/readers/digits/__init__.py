"""The built-in handwritten digits, alone or in scenes."""
