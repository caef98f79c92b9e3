"""Models: the only place that imports onnxruntime, and where its exceptions stop."""
