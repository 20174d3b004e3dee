"""Jobs about a whole sweep: `job=plan` and `job=status`."""
