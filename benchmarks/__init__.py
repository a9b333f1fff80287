"""Speed of this package against the machine's matrix products and against batched PyTorch."""
