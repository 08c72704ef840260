"""PASCAL VOC's XML and masks."""
