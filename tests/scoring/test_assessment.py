from typing import Any

import numpy as np
import pytest

from origcli.reports.schema import Threshold
from origcli.scoring.assessment import Reference, Scale, Trial, assess, check_domain


def scale(
    threshold: Any = None, ceiling: float = 0.7, psnr_limit: Any = None, reference: Any = None
) -> Scale:
    source = "none" if threshold is None else "flag"
    limit = Threshold(value=threshold, source=source, how="test")
    return Scale(ceiling, limit, psnr_limit, bootstrap=300, reference=reference)


def trials(curve: Any, spread: float = 0.0, repeats: int = 1) -> Any:
    offsets = np.linspace(-spread, spread, 20)
    return {
        m: [Trial(list(d + offsets), 0.05, 10, "budget") for _ in range(repeats)] for m, d in curve.items()
    }


def assessed(
    curve: Any,
    spread: float = 0.0,
    maximum: Any = None,
    floor: float = 0.1,
    repeats: int = 1,
    **constants: Any,
) -> Any:
    found = trials(curve, spread, repeats)
    return assess(found, maximum or len(curve), floor, scale(**constants), np.random.default_rng(0))


def test_curve_and_originality() -> None:
    result = assessed({1: 0.4, 2: 0.2}, spread=0.1)
    assert [point.distance.value for point in result.curve] == pytest.approx([0.4, 0.2])
    for point in result.curve:
        assert point.distance.low < point.distance.value < point.distance.high
        assert point.share_passing is None
    assert result.originality.value == pytest.approx((0.3 + 0.1) / 2 / 0.6)
    assert result.originality.low < result.originality.value < result.originality.high
    assert result.tokens_needed.kind == "no-threshold" and "given the learned tokens" in result.intervals


@pytest.mark.parametrize(
    ("threshold", "kind", "text"),
    [
        (0.45, "reached", "1"),
        (0.31, "reached", "2"),
        (0.2, "not-reached", "> 3"),
        (0.4, "undecided", "undecided"),
    ],
)
def test_tokens_needed(threshold: float, kind: str, text: str) -> None:
    needed = assessed({1: 0.4, 2: 0.3, 3: 0.25}, spread=0.02, threshold=threshold).tokens_needed
    assert (needed.kind, needed.text, needed.maximum) == (kind, text, 3)


def test_shares_that_pass() -> None:
    points = assessed({1: 0.5, 2: 0.3}, spread=0.05, threshold=0.4).curve
    assert [point.share_passing for point in points] == [0.0, 1.0]


def test_originality_needs_the_whole_curve_and_a_scale() -> None:
    assert "not every m" in assessed({1: 0.4}, maximum=3).originality.reason
    assert "20% of the ceiling" in assessed({1: 0.4}, floor=0.65).originality.reason


def test_percentile_in_a_reference_with_the_interval_carried_over() -> None:
    reference = Reference("set", "0" * 64, tuple(np.linspace(0, 1, 101)))
    place = assessed({1: 0.4}, spread=0.05, reference=reference).percentile
    assert place.count == 101 and place.value.value == pytest.approx(50, abs=1)
    assert place.value.low < place.value.value < place.value.high


def test_repeats_are_averaged_and_told() -> None:
    result = assessed({1: 0.4}, spread=0.05, repeats=3)
    assert len(result.curve[0].distances) == 3 and "3 repeats" in result.intervals


@pytest.mark.parametrize(
    ("psnr", "floor", "constants", "words"),
    [
        (19.0, 0.1, {"psnr_limit": 20.0}, "PSNR of 19.0 dB"),
        (30.0, 0.3, {"threshold": 0.25}, "0.300 from it"),
        (30.0, 0.6, {}, "less than 20% of the ceiling"),
    ],
)
def test_out_of_domain(psnr: float, floor: float, constants: Any, words: str) -> None:
    domain = check_domain(psnr, floor, scale(**constants), forced=True)
    assert domain.inside is False and domain.forced and words in domain.reasons[0]


def test_inside_the_domain() -> None:
    domain = check_domain(20.0, 0.1, scale(psnr_limit=20.0, threshold=0.1), forced=True)
    assert domain.inside and not domain.reasons and not domain.forced
    assert check_domain(None, 0.0, scale(psnr_limit=20.0)).inside  # an exact round trip
