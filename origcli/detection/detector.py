"""What a detector gives, and what may be one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from origcli.scenes.elements import Element

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """An element seen in an image.

    Attributes:
        confidence: 0 to 1; that of the bundled detector is calibrated: of the detections at 0.9, nine in ten
            are right.
        box: x0, y0, x1, y1 of what can be seen of the element, in pixels of the image.
    """

    element: Element
    confidence: float
    box: Box


class Detector(Protocol):
    """Finds elements in images.

    Attributes:
        weights_hash: sha256 of its weights.
        confidence: the threshold that a detection has to reach.
    """

    weights_hash: str
    confidence: float

    def detect(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        """The detections of each image, the most confident first; any number and sizes of images."""
