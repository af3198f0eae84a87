"""Finding and reading images."""
