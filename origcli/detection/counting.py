"""Multisets of detected elements, and how far two of them agree."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from origcli.detection.detector import Detection
from origcli.scenes.elements import Element

T = TypeVar("T")


def multiset(detections: Iterable[Detection]) -> Counter[Element]:
    """How many there are of each element."""
    return Counter(detection.element for detection in detections)


def f1(a: Mapping[T, int], b: Mapping[T, int]) -> float:
    """F1 of two multisets: 2·|a ∩ b| / (|a| + |b|), in [0, 1]; 1 for two empty ones.

    An intersection of multisets holds the smaller count of each element.
    """
    total = sum(a.values()) + sum(b.values())
    if total == 0:
        return 1.0
    shared = sum(min(count, b.get(element, 0)) for element, count in a.items())
    return 2 * shared / total
