"""Masks of single objects: COCO's run lengths, and geometry on them."""
