"""The `quart-wshub` command."""
