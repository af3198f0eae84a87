"""What detected elements tell of images: a distance, and whether a model copies placement.

The distance is 1 − F1 of the multisets of detected elements (supplement 2.1 for the detector).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import attrgetter
from typing import Any

import numpy as np
from PIL import Image

from origcli.detection.counting import f1
from origcli.detection.detector import Detection, Detector
from origcli.perception.distance import PLACEMENT, InDistributionTest
from origcli.scenes.captions import JOINT
from origcli.scenes.elements import ALL_ELEMENTS, Element

NEAR = 0.1  # of the image's width: centers this close are in the same place

Place = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """The elements that a detector saw in one image, and where.

    Attributes:
        placed: element, and its center (x, y) as fractions of the image.
    """

    placed: tuple[tuple[Element, Place], ...]

    @property
    def multiset(self) -> Counter[Element]:
        """How many there are of each element."""
        return Counter(element for element, _ in self.placed)

    @property
    def places(self) -> dict[Element, list[Place]]:
        """The centers of each element."""
        centers: dict[Element, list[Place]] = defaultdict(list)
        for element, place in self.placed:
            centers[element].append(place)
        return centers


class ElementsDistance:
    """1 − F1 of the multisets of detected elements; 0 for two empty images. Its features are layouts."""

    name = "elements"
    test: InDistributionTest = PLACEMENT

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.version = f"1/{detector.weights_hash}/{detector.confidence:g}"

    def features(self, images: Sequence[Image.Image]) -> list[Layout]:
        """What the detector sees in each image."""
        seen = self.detector.detect(images)
        return [_layout(detections, image) for image, detections in zip(images, seen, strict=True)]

    def between(self, a: Layout, b: Layout) -> float:
        """1 − F1 in [0, 1]."""
        return 1 - f1(a.multiset, b.multiset)

    def captions(self, unprompted: Callable[[], Sequence[Layout]]) -> list[str]:
        """Captions of one and of two of the elements that a model draws unprompted, in a fixed order."""
        seen = {element for layout in unprompted() for element in layout.multiset}
        elements = sorted(seen, key=attrgetter("index"))
        pairs = [JOINT.join((a.phrase, b.phrase)) for a, b in combinations(elements, 2)]
        return [*(element.phrase for element in elements), *pairs]

    def facts_of(self, features: Sequence[Layout]) -> dict[str, Any]:
        """The layouts, for the test of placement; `layouts_of` is the inverse."""
        return {"layouts": [_as_numbers(layout) for layout in features]}


def _layout(detections: Sequence[Detection], image: Image.Image) -> Layout:
    placed = []
    for detection in detections:
        x0, y0, x1, y1 = detection.box
        center = (x0 + x1) / 2 / image.width, (y0 + y1) / 2 / image.height
        placed.append((detection.element, center))
    return Layout(tuple(placed))


def _as_numbers(layout: Layout) -> list[list[float]]:
    return [[element.index, x, y] for element, (x, y) in layout.placed]


def layouts_of(facts: Mapping[str, Any]) -> list[Layout]:
    """The layouts that `ElementsDistance.facts_of` gave."""
    return [
        Layout(tuple((ALL_ELEMENTS[index], (x, y)) for index, x, y in layout)) for layout in facts["layouts"]
    ]


def count_copied(query: Layout, drawing: Layout) -> tuple[int, int]:
    """How many elements of a sample stand where the query has them.

    Elements of the same class are matched so that the sum of their distances is least (Hungarian method).

    Returns:
        Matched pairs whose centers are within `NEAR` of the width, and all matched pairs.
    """
    from scipy.optimize import linear_sum_assignment  # half a second, which other metrics need not wait

    copied = matched = 0
    theirs = drawing.places
    for element, ours in query.places.items():
        if element not in theirs:
            continue
        offsets = np.array(ours)[:, None] - np.array(theirs[element])[None]  # (a, b, 2)
        distances = np.linalg.norm(offsets, axis=-1)
        rows, columns = linear_sum_assignment(distances)
        copied += int((distances[rows, columns] <= NEAR).sum())
        matched += len(rows)
    return copied, matched


def copy_counts(query: Layout, drawings: Sequence[Layout]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """`count_copied` of each sample, (samples, 2)."""
    return np.array([count_copied(query, drawing) for drawing in drawings], np.int64).reshape(-1, 2)


def permuted_counts(
    query: Layout, drawings: Sequence[Layout], others: Sequence[Layout], random: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """What chance alone copies: `copy_counts` of the query with its elements in places of other images.

    Args:
        others: images of the same model that have nothing to do with the query; each lends its places
            once for each sample.

    Returns:
        (samples, 2), summed over the permuted queries; zeros where the others show no element.
    """
    pool = [place for other in others for _, place in other.placed]
    total = np.zeros((len(drawings), 2), np.int64)
    if not pool:
        return total
    for _ in others:
        chosen = random.integers(len(pool), size=len(query.placed))
        permuted = Layout(
            tuple((element, pool[i]) for (element, _), i in zip(query.placed, chosen, strict=True))
        )
        total += copy_counts(permuted, drawings)
    return total
