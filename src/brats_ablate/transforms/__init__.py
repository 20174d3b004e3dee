"""Data augmentation and normalization (paper section 2.2).

In the order of the paper: `crop`, `zoom`, `flip`, `noise`, `blur`, `brightness`, `contrast`. `pipeline` puts them
together with `normalize` and `foreground`.
"""
