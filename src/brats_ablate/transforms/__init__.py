"""Augmentation on the training device: batches in, batches out (paper section 2.2, augmentations 2 to 7)."""
