"""From the records of many runs to tables, statistics and a report. Reads files, never a model; imports no torch."""
