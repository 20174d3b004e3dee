"""Training runs as directories: content, identity, state, provenance."""
