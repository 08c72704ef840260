"""COCO's panoptic annotations and stuff maps."""
