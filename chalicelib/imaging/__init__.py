"""Pixels: the only place that imports Pillow, and where its exceptions stop."""
