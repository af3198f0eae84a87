"""The measure of originality, as functions of distances alone (supplement 5, 6.2).

Distances of one query come as an array `(repeats, token counts, drawings)`: `repeats` inversions, the
token counts 1…M in order, and one sample per seed, the same seeds for every token count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Item = TypeVar("Item")

LEVEL = 0.95
LEAST_RANGE = 0.2  # of the ceiling: with less between floor and ceiling the scale says nothing


@dataclass(frozen=True)
class Interval:
    """A confidence interval at `LEVEL`."""

    low: float
    high: float

    def straddles(self, threshold: float) -> bool:
        """Whether the interval holds values on both sides of a threshold (passing is `<=`)."""
        return self.low <= threshold < self.high


def curve(distances: Array) -> Array:
    """d(m): the mean distance over the samples, and over the repeats.

    Args:
        distances: (repeats, M, samples).

    Returns:
        (M,)
    """
    return np.asarray(distances.mean(axis=(0, 2)))


def resampled_curves(distances: Array, replicates: int, random: np.random.Generator) -> Array:
    """Bootstrap replicates of the curve.

    Seeds are resampled jointly across the token counts, because each seed's samples share their noise;
    with several repeats, repeats are resampled first and seeds within each.

    Args:
        distances: (repeats, M, samples).
        replicates: how many.

    Returns:
        (replicates, M)
    """
    repeats, _, drawings = distances.shape
    chosen = random.integers(repeats, size=(replicates, repeats))  # (B, R)
    seeds = random.integers(drawings, size=(replicates, repeats, drawings))  # (B, R, n)
    sampled = distances[chosen[:, :, None], :, seeds]  # (B, R, n, M)
    return np.asarray(sampled.mean(axis=(1, 2)))


def interval(replicates: Array) -> list[Interval]:
    """The percentile interval of each column of `(replicates, columns)`."""
    edge = (1 - LEVEL) / 2
    low, high = np.quantile(replicates, [edge, 1 - edge], axis=0)
    return [Interval(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def mean_over_pairs(items: Sequence[Item], between: Callable[[Item, Item], float]) -> float:
    """The ceiling: the mean distance over all pairs of images that the model draws unasked.

    Raises:
        ValueError: fewer than two items.
    """
    if len(items) < 2:
        raise ValueError("a mean over pairs needs two items")
    return float(np.mean([between(a, b) for a, b in combinations(items, 2)]))


def median_to_others(items: Sequence[Item], between: Callable[[Item, Item], float]) -> float:
    """The median over items of the mean distance to the other items.

    What a typical sample of a caption is away from the others: a few samples that show something else weigh
    little, where in a mean over all pairs each of them counts against every other one.

    Raises:
        ValueError: fewer than two items.
    """
    if len(items) < 2:
        raise ValueError("a distance to others needs two items")
    count = len(items)
    distances = np.zeros((count, count))
    for i, j in combinations(range(count), 2):
        distances[i, j] = distances[j, i] = between(items[i], items[j])
    return float(np.median(distances.sum(axis=1) / (count - 1)))


def spans_enough(floor: float, ceiling: float) -> bool:
    """Whether floor and ceiling are far enough apart for the scale between them to mean anything."""
    return ceiling > 0 and ceiling - floor >= LEAST_RANGE * ceiling


def originality(curves: Array, floor: float | Array, ceiling: float) -> Array:
    """The mean over m of (d(m) − floor) / (ceiling − floor), clipped to [0, 1] once, after averaging.

    Args:
        curves: (..., M), curves of images or replicates of one.
        floor: one for all, or (...), one a curve.

    Returns:
        (...)

    Raises:
        ValueError: a floor and the ceiling do not span enough (`spans_enough`).
    """
    floors = np.asarray(floor, np.float64)
    if not spans_enough(float(floors.max()), ceiling):
        raise ValueError(f"floor {floors.max()} and ceiling {ceiling} are too close")
    scaled = (curves.mean(axis=-1) - floors) / (ceiling - floors)
    return np.asarray(np.clip(scaled, 0, 1))


def tokens_needed(curve: Array, threshold: float) -> int | None:
    """The least m with d(m) <= threshold; `None` is more than M."""
    passing = np.flatnonzero(np.asarray(curve) <= threshold)
    return int(passing[0]) + 1 if len(passing) else None


def share_passing(replicates: Array, threshold: float) -> list[float]:
    """For each m, the share of the bootstrap replicates with d(m) <= threshold."""
    return [float(share) for share in (replicates <= threshold).mean(axis=0)]


def undecided(intervals: Sequence[Interval], needed: int | None, threshold: float) -> int | None:
    """The first m in doubt: its interval straddles the threshold and it comes no later than the answer.

    Args:
        needed: the least m that passes, or `None`; later ones cannot change it.

    Returns:
        That m, or `None` where the answer is clear.
    """
    doubts = (m for m, interval in enumerate(intervals[:needed], 1) if interval.straddles(threshold))
    return next(doubts, None)


def psnr(original: NDArray[np.uint8], copy: NDArray[np.uint8]) -> float | None:
    """Peak signal-to-noise ratio of two 8-bit images in dB; `None` where they are equal (infinite)."""
    error = float(np.mean((original.astype(np.float64) - copy.astype(np.float64)) ** 2))
    return None if error == 0 else 10 * float(np.log10(255.0**2 / error))
