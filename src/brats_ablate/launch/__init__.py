"""Sweeps beyond one process: what to submit, who has it, what became of it. Knows run directories, not Hydra."""
