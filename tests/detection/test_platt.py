from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from origcli.detection.platt import fit_platt, fold


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 4), st.floats(-2, 2), st.integers(0, 10))
def test_the_map_that_made_the_outcomes_is_found(slope: Any, offset: Any, seed: Any) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, 20_000)
    right = random.random(20_000) < sigmoid(slope * logits + offset)
    found = fit_platt(sigmoid(logits), right)
    assert np.allclose(found, (slope, offset), atol=0.25)


def test_calibrated_confidences_are_the_share_that_is_right() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 1.5, 50_000)
    right = random.random(50_000) < sigmoid(3 * logits + 1)
    slope, offset = fit_platt(sigmoid(logits), right)
    confidences = sigmoid(slope * logits + offset)
    near = abs(confidences - 0.9) < 0.02
    assert abs(right[near].mean() - 0.9) < 0.02


def test_a_threshold_that_separates_gives_a_finite_map() -> None:
    slope, offset = fit_platt(np.linspace(0.01, 0.99, 200), np.linspace(0.01, 0.99, 200) > 0.5)
    assert 0 < slope < 100
    assert abs(offset) < 100
    assert sigmoid(slope * np.log(0.9 / 0.1) + offset) > 0.95


def test_confidences_of_zero_and_one_are_no_trouble() -> None:
    slope, offset = fit_platt(np.array([0.0, 0.2, 0.8, 1.0]), np.array([False, False, True, True]))
    assert np.isfinite([slope, offset]).all()


def test_without_both_outcomes_nothing_is_changed() -> None:
    assert fit_platt(np.array([0.2, 0.9]), np.array([True, True])) == (1.0, 0.0)
    assert fit_platt(np.array([0.2, 0.9]), np.array([False, False])) == (1.0, 0.0)
    assert fit_platt(np.zeros(0), np.zeros(0, bool)) == (1.0, 0.0)


def test_the_order_of_detections_is_never_turned_round() -> None:
    assert fit_platt(np.array([0.1, 0.2, 0.8, 0.9]), np.array([True, True, False, False])) == (1.0, 0.0)


def test_the_map_goes_into_the_weights() -> None:
    layer = nn.Conv2d(3, 5, 1)
    x = torch.randn(2, 3, 4, 4)
    before = layer(x)
    fold([layer], 1.7, -0.3)
    assert torch.allclose(layer(x), 1.7 * before - 0.3, atol=1e-5)
