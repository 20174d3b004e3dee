"""Raw files in, prepared store out, patches out of the store."""
