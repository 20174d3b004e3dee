"""Summaries of networks: counts, run time, data flow and diagrams."""
