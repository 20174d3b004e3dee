"""Search of thresholds and post-processing by nested cross-validation (paper section 2.5)."""
