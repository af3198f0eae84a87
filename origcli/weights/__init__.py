"""Getting and checking files of models and metrics."""
