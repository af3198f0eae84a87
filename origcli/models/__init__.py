"""Models: VAE, UNet, text encoder, pipeline directories, the registry of names, checkpoints."""
