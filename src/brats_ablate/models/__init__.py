"""The networks (paper section 2.3): patches in, logits of the three regions out, finest stage first in every mode."""
