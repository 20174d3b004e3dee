"""One module per thing that is measured; each has `measure(options) -> list[Table]`."""
