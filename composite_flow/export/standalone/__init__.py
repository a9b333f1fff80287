"""The agent that goes into exported folders: NumPy and onnxruntime, no JAX."""
