"""The tiny model and the metrics that whole runs are tested with."""

from tests.measuring import narrow_metric, pictures, pixel_metric, tiny_settings

__all__ = ["narrow_metric", "pictures", "pixel_metric", "tiny_settings"]
