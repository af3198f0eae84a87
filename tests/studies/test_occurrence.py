"""Frequencies of held-out elements: 0/0, intervals that cover, and a trend test that finds trends."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from origcli.studies.occurrence import Counts, Quantity, average, frequency, quality, rise


def counts(held_out: Sequence[float], total: Sequence[float], confidence: float = 0.95) -> Counts:
    ours = np.array(held_out, float)
    return Counts(ours, np.array(total, float), ours, ours * confidence)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_frequency_is_held_out_over_all() -> None:
    one = frequency(counts([1, 0, 2], [2, 1, 3]), 200, random())
    assert one.value == pytest.approx(0.5)
    estimate = one.estimate
    assert estimate.low is not None and estimate.high is not None
    assert 0 <= estimate.low <= 0.5 <= estimate.high <= 1


def test_nothing_over_nothing_is_zero_and_excludes_nothing() -> None:
    estimate = frequency(counts([0, 0], [0, 0]), 50, random()).estimate
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 1)


@pytest.mark.parametrize("pictures", [10, 1024])
def test_none_and_all_have_clopper_and_pearsons_bound_over_pictures(pictures: int) -> None:
    """Pictures without any detection say nothing, so they are not counted."""
    total = [2] * pictures + [0] * 50
    exact = binomtest(0, pictures).proportion_ci(method="exact").high
    none = frequency(counts([0] * (pictures + 50), total), 4001, random()).estimate
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(exact, rel=1e-3)
    every = frequency(counts(total, total), 4001, random()).estimate
    assert (every.value, every.high) == (1, 1) and every.low == pytest.approx(1 - exact, rel=1e-3)


def test_an_average_of_nothing_found_is_not_certain_of_it() -> None:
    none = [frequency(counts([0] * 100, [1] * 100), 2000, random(i)) for i in range(3)]
    estimate = average(none, random())
    assert (estimate.value, estimate.low) == (0, 0)
    assert estimate.high is not None and 1 / 300 < estimate.high < 0.037


def test_quality_of_what_was_never_seen_is_missing_with_a_reason() -> None:
    estimate = quality(counts([0, 0], [1, 2]), 50, random()).estimate
    assert estimate.value is None and estimate.reason == "no held-out element was detected"


def test_quality_is_a_mean_over_elements_not_over_pictures() -> None:
    seen = Counts(np.array([1.0, 3.0]), np.array([1.0, 3.0]), np.array([1.0, 3.0]), np.array([0.6, 3 * 0.9]))
    assert quality(seen, 50, random()).value == pytest.approx((0.6 + 2.7) / 4)


def test_the_interval_covers_the_true_frequency() -> None:
    """Pictures of one to three elements, each of which is the held-out one with a chance of 0.2."""
    source, covered, trials = random(1), 0, 120
    for _ in range(trials):
        total = source.integers(1, 4, size=150)
        one = frequency(counts(list(source.binomial(total, 0.2)), list(total)), 300, source).estimate
        assert one.low is not None and one.high is not None
        covered += one.low <= 0.2 <= one.high
    assert 0.87 <= covered / trials <= 0.995  # 0.95 expected


def test_intervals_are_wider_where_elements_of_a_picture_come_together() -> None:
    """The same counts, spread over pictures or all in a few: resampling elements would see no difference."""
    spread = frequency(counts([1] * 40 + [0] * 160, [4] * 200), 500, random()).estimate
    lumped = frequency(counts([4] * 10 + [0] * 190, [4] * 200), 500, random()).estimate
    assert spread.value == lumped.value
    assert lumped.high - lumped.low > 1.3 * (spread.high - spread.low)  # type: ignore[operator]


@given(st.floats(1, 60))
def test_lift_is_frequency_times_the_number_of_elements(level: float) -> None:
    one = frequency(counts([1, 0, 1], [2, 2, 2]), 20, random())
    assert one.scaled(level).value == pytest.approx(one.value * level)
    assert one.scaled(level).replicates == pytest.approx(one.replicates * level)


def test_an_average_is_over_experiments_and_its_interval_knows_that_they_differ() -> None:
    alike = [Quantity(0.2, random(i).normal(0.2, 0.001, 400)) for i in range(4)]
    apart = [Quantity(v, random(i).normal(v, 0.001, 400)) for i, v in enumerate((0.05, 0.15, 0.25, 0.35))]
    a, b = average(alike, random()), average(apart, random())
    assert a.value == pytest.approx(0.2) and b.value == pytest.approx(0.2)
    assert b.high - b.low > 20 * (a.high - a.low)  # type: ignore[operator]


def test_an_average_leaves_out_experiments_without_a_value() -> None:
    none = Quantity(float("nan"), np.full(50, np.nan))
    assert average([Quantity(0.3, np.full(50, 0.3)), none], random()).value == pytest.approx(0.3)
    assert average([none], random()).value is None
    assert average([], random()).reason == "no experiment was finished"


def test_a_rise_is_found_and_a_fall_is_not() -> None:
    levels = [4] * 3 + [30] * 3 + [60] * 3
    up = rise(levels, [0.1, 0.2, 0.15, 0.3, 0.4, 0.35, 0.6, 0.7, 0.65], random())
    down = rise(levels, [0.6, 0.7, 0.65, 0.3, 0.4, 0.35, 0.1, 0.2, 0.15], random())
    assert up is not None and down is not None
    assert up.tau > 0.8 and up.p_value < 0.01
    assert down.tau < -0.8 and down.p_value > 0.99


def test_the_p_value_is_the_exact_one() -> None:
    """Three experiments, all different: 1 of 6 orders rises throughout."""
    one = rise([1, 2, 3], [0.1, 0.2, 0.3], random())
    assert one is not None and one.p_value == pytest.approx(1 / 6, abs=0.02)


def test_values_change_places_within_their_block_alone() -> None:
    """Two held-out elements of very different frequency, each rising over three levels: 1 of 36 ways."""
    levels, blocks = [4, 30, 60] * 2, ["a"] * 3 + ["b"] * 3
    one = rise(levels, [0.01, 0.02, 0.03, 0.7, 0.8, 0.9], random(), blocks)
    assert one is not None and one.p_value == pytest.approx(1 / 36, abs=0.01)
    assert rise([4, 30, 60], [0.1, 0.2, 0.3], random(), ["a", "b", "c"]) is None
    source, below = random(4), 0
    for _ in range(60):
        values = source.normal(size=6) + np.array([0.0] * 3 + [9.0] * 3)
        found = rise(levels, list(values), source, blocks)
        below += found is not None and found.p_value <= 0.5
    assert 6 <= below <= 42  # of few permutations many tie, which count against a rise


def test_p_values_are_uniform_without_a_trend() -> None:
    source = random(3)
    levels = [4] * 4 + [30] * 4 + [60] * 4
    found = [rise(levels, list(source.normal(size=12)), source) for _ in range(60)]
    below = sum(one is not None and one.p_value <= 0.5 for one in found)
    assert 18 <= below <= 42


@pytest.mark.parametrize(
    ("levels", "values"), [([4, 30], [0.1, 0.2]), ([4, 4, 4], [0.1, 0.2, 0.3]), ([4, 30, 60], [0.1] * 3)]
)
def test_there_is_no_trend_without_variation(levels: list[int], values: list[float]) -> None:
    assert rise(levels, values, random()) is None
