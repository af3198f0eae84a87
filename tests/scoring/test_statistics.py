from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.scoring import statistics

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_group_bootstrap_resamples_images_and_seeds() -> None:
    source = random()
    members = np.stack([source.normal(level, 0.05, (1, 2, 20)) for level in source.normal(0.5, 0.1, 30)])
    means = members.mean(axis=(1, 3))  # (30, 2)
    replicates = list(statistics.resampled_groups(members, 1000, random()))
    curves = np.array([curve.mean(axis=0) for _, curve in replicates])  # (1000, 2)
    np.testing.assert_allclose(curves.mean(axis=0), means.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(curves.std(axis=0), means.std(axis=0) / np.sqrt(30), rtol=0.15)
    images, curve = replicates[0]
    assert images.shape == (30,) and len(set(images)) < 30
    np.testing.assert_allclose(curve, means[images], atol=0.06)


def test_a_group_of_one_image_still_has_the_spread_of_its_seeds() -> None:
    members = random().random((1, 1, 1, 20))
    curves = [curve.item() for _, curve in statistics.resampled_groups(members, 200, random())]
    assert np.std(curves) > 0.02


def test_resampled_interval_of_a_statistic() -> None:
    a, b = list(random().normal(1, 0.1, 50)), list(random().normal(0, 0.1, 50))
    span = statistics.resampled(lambda x, y: float(x.mean() - y.mean()), [a, b], 300, random())
    assert span is not None
    assert 0.9 < span.low < np.mean(a) - np.mean(b) < span.high < 1.1
    assert statistics.resampled(lambda x: float(x.mean()), [[1.0]], 10, random()) is None


def test_percentile_places_a_value() -> None:
    assert statistics.percentile(2, [1, 2, 3]) == pytest.approx(50)
    assert statistics.percentile(9, [1, 2, 3]) == 100
    assert statistics.percentile(0, [1, 2, 3]) == 0
    assert statistics.percentile(1, []) is None


@given(SCORES, SCORES)
def test_roc_auc_is_the_share_of_pairs_in_order(higher: Any, lower: Any) -> None:
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in higher for b in lower]
    assert statistics.roc_auc(higher, lower) == pytest.approx(np.mean(wins))


@given(SCORES, SCORES)
def test_roc_auc_turns_around(a: Any, b: Any) -> None:
    turned = statistics.roc_auc(b, a)
    assert turned is not None and statistics.roc_auc(a, b) == pytest.approx(1 - turned)


def test_permutation_test_is_exact_for_small_groups() -> None:
    # of the 20 ways to split six values 3 + 3, two are as extreme as this one
    assert statistics.permutation_p_value([1, 2, 3], [4, 5, 6], random()) == pytest.approx(2 / 20)
    assert statistics.permutation_p_value([1, 2, 3, 4], [1, 2, 3, 4], random()) == 1


def test_permutation_test_of_large_groups_repeats_with_its_seed() -> None:
    a, b = random().random(40), random().random(40) + 0.3
    first = statistics.permutation_p_value(list(a), list(b), np.random.default_rng(3))
    assert first == statistics.permutation_p_value(list(a), list(b), np.random.default_rng(3))
    assert first is not None and first < 0.01


def test_statistics_of_too_little_are_none() -> None:
    assert statistics.roc_auc([], [1.0]) is None
    assert statistics.permutation_p_value([1.0], [1.0, 2.0], random()) is None
    assert statistics.rank_correlation([1, 2], [1, 2]) is None
    assert statistics.rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_rank_correlation() -> None:
    assert statistics.rank_correlation([1, 5, 9, 2], [10, 50, 900, 20]) == pytest.approx(1)
    assert statistics.rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
