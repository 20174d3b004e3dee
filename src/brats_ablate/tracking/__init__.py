"""Experiment trackers: none, Weights & Biases, TensorBoard, or several at once."""
