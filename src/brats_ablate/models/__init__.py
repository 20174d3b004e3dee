"""The networks: patches in, logits of the three regions out, finest level first and in every mode."""
