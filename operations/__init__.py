"""What an operator runs against a stage: nothing of it ships to Lambda."""
