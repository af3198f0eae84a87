"""Measuring how original images are to a model: the main job."""
