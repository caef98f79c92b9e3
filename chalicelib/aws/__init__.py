"""The edges to AWS: the only place that imports boto3, and where its exceptions stop."""
