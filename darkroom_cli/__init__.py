"""The command line `darkroom`: nothing of it ships to Lambda (docs/cli.md)."""
