"""How well a prediction agrees with its reference, per region and per lesion."""
