"""The configuration: where its files are, whether it is valid, and messages about it."""
