"""CPU fusions of standard layers; plain PyTorch without them."""
