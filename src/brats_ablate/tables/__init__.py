"""From the records of many runs to tables and statistics. Reads files, never a model; imports no torch."""
