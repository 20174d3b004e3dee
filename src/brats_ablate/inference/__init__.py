"""From a network to label volumes: windows over a volume, flips, region thresholds, post-processing."""
