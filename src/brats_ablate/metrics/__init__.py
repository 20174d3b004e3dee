"""Segmentation metrics per region and per lesion."""
