"""Box arithmetic: regions, anchors, sampling, suppression, proposals."""
