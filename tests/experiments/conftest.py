"""The tiny model and metric that whole runs are tested with."""

from tests.measuring import pictures, pixel_metric, tiny_settings

__all__ = ["pictures", "pixel_metric", "tiny_settings"]
