"""The steps of an image, in the order of the flow: ingest, preprocess, infer; and bury."""
