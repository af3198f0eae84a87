import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from origcli.scoring import measure

UNIT = st.floats(0, 1)
DISTANCES = arrays(np.float64, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=UNIT)


def random() -> np.random.Generator:
    return np.random.default_rng(0)


@given(DISTANCES)
def test_curve_lies_within_the_distances_of_each_token_count(distances: Any) -> None:
    curve = measure.curve(distances)
    assert curve.shape == (distances.shape[1],)
    assert np.all(curve >= distances.min(axis=(0, 2)) - 1e-12)
    assert np.all(curve <= distances.max(axis=(0, 2)) + 1e-12)


@given(DISTANCES)
def test_replicates_are_centered_on_the_curve(distances: Any) -> None:
    replicates = measure.resampled_curves(distances, 400, random())
    assert replicates.shape == (400, distances.shape[1])
    assert np.all(replicates >= distances.min(axis=(0, 2)) - 1e-12)
    assert np.all(replicates <= distances.max(axis=(0, 2)) + 1e-12)
    # Their mean lies within five standard errors of the mean of what was resampled.
    error = replicates.std(axis=0) / np.sqrt(len(replicates))
    assert np.all(np.abs(replicates.mean(axis=0) - measure.curve(distances)) <= 5 * error + 1e-12)


def test_bootstrap_matches_the_standard_error_of_a_mean() -> None:
    distances = random().normal(0.5, 0.1, size=(1, 1, 400))
    replicates = measure.resampled_curves(distances, 4000, random())
    expected = distances.std() / np.sqrt(400)
    assert replicates.std() == pytest.approx(expected, rel=0.05)
    (low_high,) = measure.interval(replicates)
    assert low_high.high - low_high.low == pytest.approx(2 * 1.96 * expected, rel=0.08)


def test_seeds_are_resampled_jointly_across_token_counts() -> None:
    """A curve that differs by a constant on every seed must differ by it in every replicate."""
    first = random().random((1, 1, 20))
    replicates = measure.resampled_curves(np.concatenate([first, first - 0.25], axis=1), 200, random())
    np.testing.assert_allclose(replicates[:, 0] - replicates[:, 1], 0.25)


def test_repeats_add_their_own_spread() -> None:
    between = np.array([0.2, 0.6])[:, None, None] * np.ones((2, 1, 20))
    replicates = measure.resampled_curves(between, 500, random())
    assert set(np.round(replicates[:, 0], 9)) == {0.2, 0.4, 0.6}


def test_repeats_resample_seeds_within_each() -> None:
    distances = random().random((2, 3, 5))
    replicates = measure.resampled_curves(distances, 2000, random())
    np.testing.assert_allclose(replicates.mean(axis=0), measure.curve(distances), atol=0.02)


def test_mean_over_pairs() -> None:
    values = [0.0, 1.0, 3.0]
    assert measure.mean_over_pairs(values, lambda a, b: abs(a - b)) == pytest.approx(2.0)
    with pytest.raises(ValueError):
        measure.mean_over_pairs([1.0], lambda a, b: 0.0)


@pytest.mark.parametrize(
    ("floor", "ceiling", "enough"),
    [(0.0, 0.5, True), (0.39, 0.5, True), (0.41, 0.5, False), (0.6, 0.5, False), (0.0, 0.0, False)],
)
def test_spans_enough(floor: float, ceiling: float, enough: bool) -> None:
    assert measure.spans_enough(floor, ceiling) is enough


@given(arrays(np.float64, st.integers(1, 8), elements=UNIT), st.floats(0, 0.39), st.floats(0.5, 1))
def test_originality_is_in_the_unit_interval_and_grows_with_distance(
    curve: Any, floor: Any, ceiling: Any
) -> None:
    value = measure.originality(curve, floor, ceiling)
    assert 0 <= value <= 1
    assert measure.originality(curve + 0.1, floor, ceiling) >= value


def test_originality_at_the_ends_of_the_scale() -> None:
    assert measure.originality(np.full(5, 0.1), 0.1, 0.6) == 0
    assert measure.originality(np.full(5, 0.6), 0.1, 0.6) == 1
    assert measure.originality(np.array([0.35]), 0.1, 0.6) == pytest.approx(0.5)


def test_originality_is_clipped_only_after_averaging() -> None:
    assert measure.originality(np.array([0.0, 1.0]), 0.25, 0.75) == pytest.approx(0.5)
    assert measure.originality(np.array([-1.0, 1.0]), 0.0, 1.0) == 0


def test_originality_of_replicates_is_one_value_each() -> None:
    assert measure.originality(np.full((7, 5), 0.3), 0.1, 0.6).shape == (7,)


def test_originality_of_images_with_floors_of_their_own() -> None:
    curves = np.array([[0.3, 0.5], [0.3, 0.5]])
    together = measure.originality(curves, np.array([0.0, 0.2]), 0.6)
    assert list(together) == [float(measure.originality(curves[0], floor, 0.6)) for floor in (0.0, 0.2)]


def test_originality_refuses_a_scale_without_range() -> None:
    with pytest.raises(ValueError):
        measure.originality(np.array([0.5]), 0.49, 0.5)


def test_tokens_needed_is_the_least_that_passes() -> None:
    curve = np.array([0.5, 0.3, 0.4, 0.2])
    assert measure.tokens_needed(curve, 0.3) == 2
    assert measure.tokens_needed(curve, 0.25) == 4
    assert measure.tokens_needed(curve, 0.1) is None


@given(arrays(np.float64, st.integers(1, 8), elements=UNIT), UNIT)
def test_tokens_needed_by_definition(curve: Any, threshold: Any) -> None:
    expected = next((m for m, d in enumerate(curve, 1) if d <= threshold), None)
    assert measure.tokens_needed(curve, threshold) == expected


def test_share_passing() -> None:
    replicates = np.array([[0.1, 0.5], [0.3, 0.5], [0.2, 0.1], [0.2, 0.4]])
    assert measure.share_passing(replicates, 0.2) == [0.75, 0.25]


def test_undecided_names_the_first_token_count_that_could_change_the_answer() -> None:
    clear_no, clear_yes, open_one = (measure.Interval(*edges) for edges in ((5, 6), (1, 2), (2, 4)))
    assert measure.undecided([open_one, clear_yes], 2, 3) == 1
    assert measure.undecided([clear_no, open_one, clear_yes], 2, 3) == 2
    assert measure.undecided([clear_no, clear_yes, open_one], 2, 3) is None
    assert measure.undecided([clear_no, open_one], None, 3) == 2
    assert measure.undecided([clear_no, clear_no], None, 3) is None


def test_psnr() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert measure.psnr(black, black) is None
    assert measure.psnr(black, black + np.uint8(255)) == pytest.approx(0)
    assert measure.psnr(black, black + np.uint8(1)) == pytest.approx(48.13, abs=0.01)


def test_pairs_are_all_pairs() -> None:
    seen: list[tuple[int, int]] = []

    def between(a: int, b: int) -> float:
        seen.append((a, b))
        return 0.0

    measure.mean_over_pairs(range(4), between)
    assert seen == list(itertools.combinations(range(4), 2))
