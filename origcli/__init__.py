"""How original is an image to a text-to-image diffusion model? Measured in learned tokens."""

__version__ = "0.1.0"
