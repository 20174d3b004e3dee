"""A run is a directory with an identity: what it is, how far it is, and what produced it."""
