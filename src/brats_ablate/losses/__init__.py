"""Losses: logits and labels in, named scalar terms out; `objective` adds them up for the optimiser."""
