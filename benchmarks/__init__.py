"""Measurements against what they should be measured against; nothing of it ships."""
