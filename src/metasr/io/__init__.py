"""Bytes to samples and back: images, kernels, weights; atomic writes, hashes, permissions."""
