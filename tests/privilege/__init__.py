"""Every function's paths under its own policy, as it is packaged: docs/security.md."""
