"""The other libraries, each set up as its own documentation and defaults have it."""
