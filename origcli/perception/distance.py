"""A distance between images: what every metric offers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from PIL import Image

InDistributionTest = Literal["placement", "edit"]

PLACEMENT: InDistributionTest = "placement"
EDIT: InDistributionTest = "edit"


class Distance(Protocol):
    """A perceptual distance. Features are taken once an image; distances of features cost nothing.

    Attributes:
        name: as the user calls it.
        version: changes whenever the distances may.
        test: the test of being in distribution that fits. `placement`: its features are `Layout`s, and where
            elements stand is compared. `edit`: an edited prompt is drawn from.
    """

    name: str
    version: str
    test: InDistributionTest

    def features(self, images: Sequence[Image.Image]) -> Sequence[Any]:
        """One opaque feature an image, computed in batches."""

    def between(self, a: Any, b: Any) -> float:
        """The distance of two features, 0 for the same image and larger for less alike."""

    def captions(self, unprompted: Callable[[], Sequence[Any]]) -> list[str] | None:
        """Captions of the world that the metric was made for; `None`: any plain caption serves.

        Args:
            unprompted: gives features of samples of the empty prompt, which show what a model knows.
        """

    def facts_of(self, features: Sequence[Any]) -> Mapping[str, Any]:
        """What of the features of samples is kept with their distances, as JSON values by name."""
