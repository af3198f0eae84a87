"""Sampling images from a model: one seed per image, any batching, the same images."""
