"""YOLO's label files and the files around them."""
