"""Sweeps beyond one process: which runs to submit, their submission, their outcomes, the status of runs."""
