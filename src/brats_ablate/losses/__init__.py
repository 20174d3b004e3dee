"""Losses (paper section 2.4): logits and labels in, named scalar terms out; `total_loss` adds them up."""
