"""A distance between pictures: what every metric offers, and how to open one by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from origcli.errors import ModelError, UsageError, nearest
from origcli.runtime.context import Runtime
from origcli.settings import DetectSettings

METRICS = ("dreamsim", "elements")


class Distance(Protocol):
    """A perceptual distance. Features are taken once a picture; distances of features cost nothing.

    Attributes:
        name: as the user calls it.
        version: changes whenever the distances may.
    """

    name: str
    version: str

    def features(self, images: Sequence[Image.Image]) -> Sequence[Any]:
        """One opaque feature a picture, computed in batches."""

    def between(self, a: Any, b: Any) -> float:
        """The distance of two features, 0 for the same picture and larger for less alike."""


def open_metric(name: str, runtime: Runtime, *, detector: Path | None, settings: DetectSettings) -> Distance:
    """The distance called `name`.

    Args:
        name: `elements`, `dreamsim`, or `dreamsim:BRANCH`, which is a metric of its own.
        detector: directory of the detector that `elements` counts with.
        settings: of detection, for `elements`.

    Raises:
        UsageError: no metric has this name.
        ModelError: its weights are missing, damaged, or cannot be fetched.
    """
    match name.partition(":"):
        case ("dreamsim", _, variant):
            from origcli.perception.dreamsim import DEFAULT_VARIANT, load_dreamsim

            return load_dreamsim(runtime, variant or DEFAULT_VARIANT)
        case ("elements", "", _):
            from origcli.detection.yolo import load_yolo
            from origcli.perception.elements import ElementsDistance

            if detector is None:
                raise ModelError(
                    "the elements metric needs a detector, and this model has none",
                    "give --detector DIR (train one with origcli train-detector), or --metric dreamsim",
                )
            return ElementsDistance(load_yolo(detector, runtime, settings))
    raise _unknown(name)


def check_metric(name: str) -> None:
    """Makes sure that a metric has this name; whether its branches exist is told when it is opened.

    Raises:
        UsageError: none has.
    """
    base, _, branch = name.partition(":")
    if base not in METRICS or (base == "elements" and branch):
        raise _unknown(name)


def _unknown(name: str) -> UsageError:
    return UsageError(f"no metric is called {name!r}", nearest(name, ("auto", *METRICS)))
