"""Layers of the nets of 2012 to 2016 that torch lacks or runs slowly."""
