"""Training: a loop over built objects, and the run directory that makes it resumable. Knows no configuration."""
