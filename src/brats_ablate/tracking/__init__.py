"""Experiment trackers: none, or Weights & Biases."""
