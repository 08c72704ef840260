"""Commands that train several times to compare: sweep and ask."""
