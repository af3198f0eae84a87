"""Does a model generate what it was never shown? The study of supplement 2."""
