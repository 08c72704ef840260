"""Layers that the nets of 2012 to 2016 need and torch lacks, or has slow."""
