"""COCO's json, read as boxes or as masks."""
