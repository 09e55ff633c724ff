"""Kernels for Metal that multiply straight from GGUF blocks, and their model in NumPy."""
