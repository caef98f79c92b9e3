"""Our imaging against the naive pipeline, sharp, libvips and OpenCV: ``make bench-imaging``."""
