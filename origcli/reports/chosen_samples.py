"""Which samples stand for a result: the nearest to its image, and typical ones with and without tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from origcli.reports.score import CurvePoint, ScoreResult


@dataclass(frozen=True)
class Sample:
    """A sample of the first repeat.

    Attributes:
        m: tokens that it was generated with; 0 for none.
        number: of its seed, from 1.
        file: relative to the report.
        distance: to the image; `None` where it was not kept.
    """

    m: int
    number: int
    file: str
    distance: float | None


def nearest(result: ScoreResult) -> Sample | None:
    """The sample that is nearest to the image; of equally near ones that with the fewest tokens."""
    measured = [
        sample for point in result.curve for sample in with_tokens(point) if sample.distance is not None
    ]
    return min(measured, key=lambda sample: sample.distance or 0.0, default=None)


def typical(samples: Sequence[Sample]) -> Sample | None:
    """The sample at the lower median of distance; the first where no distance was kept."""
    measured = [sample for sample in samples if sample.distance is not None]
    if not measured:
        return next(iter(samples), None)
    return sorted(measured, key=lambda sample: sample.distance or 0.0)[(len(measured) - 1) // 2]


def with_tokens(point: CurvePoint) -> list[Sample]:
    """The samples with m tokens, in the order of their seeds."""
    distances = point.distances[0] if point.distances else ()
    return list(_samples(point.m, point.drawings, distances))


def without_tokens(result: ScoreResult) -> list[Sample]:
    """The samples without tokens, in the order of their seeds."""
    files = result.pictures.without_tokens if result.pictures else ()
    return list(_samples(0, files, result.distances_0))


def telling_point(result: ScoreResult) -> CurvePoint | None:
    """The token count that the verdict speaks of; the largest where it speaks of none."""
    said = next((point for point in result.curve if point.m == result.tokens_needed.m), None)
    return said or (result.curve[-1] if result.curve else None)


def _samples(m: int, files: Sequence[str], distances: Sequence[float]) -> Iterator[Sample]:
    for i, file in enumerate(files):
        yield Sample(m, i + 1, file, distances[i] if i < len(distances) else None)
