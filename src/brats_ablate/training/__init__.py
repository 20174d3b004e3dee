"""Training (paper section 3.2): a loop over built objects, resumable from the run directory."""
