"""The configuration: where it lies, whether it is sound, and what of it makes a run's identity. Knows Hydra."""
