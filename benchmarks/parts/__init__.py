"""One module per measured quantity, each with `measure(options) -> list[Table]`."""
