"""From a network to label volumes: windows, test-time augmentation, ensemble, thresholds, post-processing."""
