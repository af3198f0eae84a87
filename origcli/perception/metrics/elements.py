"""`elements`: 1 − F1 of detected elements, for models of the shapes world, which come with a detector."""

from origcli.perception.distance import Distance
from origcli.perception.metrics import Metric, Opening, register


def _open(opening: Opening) -> Distance:
    from origcli.detection.yolo import load_yolo
    from origcli.perception.elements import ElementsDistance

    assert opening.detector is not None
    return ElementsDistance(load_yolo(opening.detector, opening.runtime, opening.settings))


register(
    Metric(
        name="elements",
        open=_open,
        default_for=lambda has_detector: has_detector,
        detector=True,
        shapes_only=True,
    )
)
