"""Commands that are killed at random moments, and a long row of scores in one process."""
