"""Detectors: what turns a backbone's maps into boxes, in two stages or in one."""
