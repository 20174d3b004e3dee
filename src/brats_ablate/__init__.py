"""brats-ablate: ablation studies of brain tumor segmentation, from raw NIfTI to the paper's tables.

The package is laid out along the flow of data (see docs/architecture.md); importing it imports nothing else.
"""

__version__ = "0.1.0"
