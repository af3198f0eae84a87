"""From the numbers of one image to what its report says: `measure` applied.

Pure: everything that was computed by a model comes in as numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from origcli.reports.schema import (
    CurvePoint,
    DomainCheck,
    Estimate,
    Landmarks,
    Percentile,
    Threshold,
    TokensNeeded,
)
from origcli.scoring import measure
from origcli.scoring.measure import Array, Interval
from origcli.scoring.statistics import percentile


@dataclass(frozen=True)
class Trial:
    """One inversion of one image at one m, and its samples' distances.

    Attributes:
        distances: (samples,), one a seed.
        l_det: deterministic loss of the tokens; `None` where they were not learned here.
        steps, stop_reason: of the inversion.
    """

    distances: Sequence[float]
    l_det: float | None
    steps: int
    stop_reason: str


@dataclass(frozen=True)
class Reference:
    """A reference set that an image is placed in.

    Attributes:
        name, hash: the report that it comes from.
        originality: of each of its images.
    """

    name: str
    hash: str
    originality: tuple[float, ...]


@dataclass(frozen=True)
class Scale:
    """The constants of one model, metric and sampling settings that an image is measured against."""

    ceiling: float
    threshold: Threshold
    psnr_limit: float | None
    bootstrap: int
    reference: Reference | None = None
    landmarks: Landmarks | None = None


@dataclass(frozen=True)
class Assessment:
    """The fields of a `ScoreResult` that follow from the curve."""

    curve: tuple[CurvePoint, ...]
    originality: Estimate
    tokens_needed: TokensNeeded
    percentile: Percentile | None
    intervals: str


def check_domain(psnr: float | None, floor: float, scale: Scale, forced: bool = False) -> DomainCheck:
    """Whether the model can show an image at all: what its VAE makes of it, and what scale is left.

    Args:
        psnr: of the round trip in dB; `None` where it is exact.
        floor: distance of the round trip.
    """
    reasons = []
    if scale.psnr_limit is not None and psnr is not None and psnr < scale.psnr_limit:
        reasons.append(
            f"its round trip through the VAE has a PSNR of {psnr:.1f} dB, under the model's limit of "
            f"{scale.psnr_limit:.1f} dB"
        )
    limit = scale.threshold.value
    if limit is not None and floor > limit:
        reasons.append(f"the round trip alone is {floor:.3f} from it, more than the threshold of {limit:.3f}")
    if not measure.spans_enough(floor, scale.ceiling):
        reasons.append(_narrow(floor, scale.ceiling))
    return DomainCheck(
        inside=not reasons,
        reasons=tuple(reasons),
        psnr=Estimate.missing("the round trip is exact") if psnr is None else Estimate.of(psnr),
        psnr_limit=scale.psnr_limit,
        forced=forced and bool(reasons),
    )


def _narrow(floor: float, ceiling: float) -> str:
    return (
        f"between the floor of {floor:.3f} and the ceiling of {ceiling:.3f} there is less than "
        f"{measure.LEAST_RANGE:.0%} of the ceiling"
    )


def assess(
    trials: dict[int, list[Trial]], maximum: int, floor: float, scale: Scale, random: np.random.Generator
) -> Assessment:
    """The curve, the originality and the tokens needed, with their intervals.

    Args:
        trials: by m, one a repeat; m may end before `maximum` where the run stopped at the first that passed.
        maximum: M, the largest m asked for.
        floor: distance of the query to its own round trip.
        random: for the bootstrap.
    """
    counts = sorted(trials)
    distances = np.array([[t.distances for t in trials[m]] for m in counts]).transpose(1, 0, 2)  # (R, M, n)
    replicates = measure.resampled_curves(distances, scale.bootstrap, random)  # (B, M)
    curve, intervals = measure.curve(distances), measure.interval(replicates)
    limit = scale.threshold.value
    shares = [None] * len(counts) if limit is None else measure.share_passing(replicates, limit)
    points = tuple(
        _point(m, trials[m], float(value), interval, share)
        for m, value, interval, share in zip(counts, curve, intervals, shares, strict=True)
    )
    originality = _originality(curve, replicates, counts, maximum, floor, scale.ceiling)
    return Assessment(
        curve=points,
        originality=originality,
        tokens_needed=_needed(curve, intervals, limit, counts, maximum),
        percentile=_placed(originality, scale.reference),
        intervals=_described(*distances.shape),
    )


def _point(
    m: int, trials: Sequence[Trial], value: float, interval: Interval, share: float | None
) -> CurvePoint:
    losses = [trial.l_det for trial in trials if trial.l_det is not None]
    return CurvePoint(
        m=m,
        distance=Estimate.of(value, interval.low, interval.high),
        distances=tuple(tuple(trial.distances) for trial in trials),
        share_passing=share,
        l_det=Estimate.of(float(np.mean(losses))) if losses else Estimate.missing("the tokens were given"),
        steps=tuple(trial.steps for trial in trials),
        stop_reason=tuple(trial.stop_reason for trial in trials),
    )


def _originality(
    curve: Array, replicates: Array, counts: Sequence[int], maximum: int, floor: float, ceiling: float
) -> Estimate:
    if list(counts) != list(range(1, maximum + 1)):
        return Estimate.missing(f"not every m from 1 to {maximum} was measured")
    if not measure.spans_enough(floor, ceiling):
        return Estimate.missing(_narrow(floor, ceiling))
    value = float(measure.originality(curve, floor, ceiling))
    (interval,) = measure.interval(measure.originality(replicates, floor, ceiling)[:, None])
    return Estimate.of(value, interval.low, interval.high)


def _needed(
    curve: Array, intervals: Sequence[Interval], limit: float | None, counts: Sequence[int], maximum: int
) -> TokensNeeded:
    if limit is None:
        return TokensNeeded(kind="no-threshold", maximum=maximum)
    place = measure.tokens_needed(curve, limit)
    doubt = measure.undecided(intervals, place, limit)
    if doubt is not None:
        return TokensNeeded(kind="undecided", m=counts[doubt - 1], maximum=maximum)
    if place is None:
        return TokensNeeded(kind="not-reached", maximum=maximum)
    return TokensNeeded(kind="reached", m=counts[place - 1], maximum=maximum)


def _placed(originality: Estimate, reference: Reference | None) -> Percentile | None:
    if reference is None:
        return None
    if originality.value is None:
        value = Estimate.missing("there is no originality to place")
    else:
        rank = percentile(originality.value, reference.originality)
        ends: dict[str, Any] = {
            end: percentile(edge, reference.originality)
            for end, edge in (("low", originality.low), ("high", originality.high))
            if edge is not None
        }
        assert rank is not None, "a reference is checked not to be empty when it is read"
        value = Estimate.of(rank, **ends)
    return Percentile(
        value=value,
        reference=reference.name,
        reference_hash=reference.hash,
        count=len(reference.originality),
    )


def _described(repeats: int, _: int, drawings: int) -> str:
    seeds = f"95 % bootstrap over {drawings} drawing seeds, resampled jointly across m"
    if repeats == 1:
        return f"{seeds}; given the learned tokens"
    return f"{seeds}, within {repeats} repeats of the inversion, resampled too"
