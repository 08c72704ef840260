"""Pretrained nets behind one interface."""
