"""Peer libraries, set up according to their documentation and defaults."""
