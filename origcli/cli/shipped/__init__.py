"""Writes the completions and man pages that the project ships."""
