"""DVAR's criterion and its floor."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.inversion.stopping import FLOOR, VARIANCE, cooling, stop_reason

finite = st.floats(0.01, 10)


def decision(
    losses: list[float], window: int = 10, variance: float = 0.15, floor: float = 0.01
) -> str | None:
    return stop_reason(losses, window, variance, floor)


def test_no_verdict_before_the_window_is_full() -> None:
    assert decision([0.1] * 9) is None
    assert decision([0.1] * 10) == FLOOR


def test_fires_when_a_falling_loss_has_settled() -> None:
    falling = [0.1 + 0.9 * math.exp(-i / 5) + 0.02 * (-1) ** i for i in range(100)]
    stopped = next(n for n in range(1, 100) if decision(falling[:n]))
    assert 12 < stopped < 40
    assert decision(falling[:stopped]) == VARIANCE


def test_goes_on_while_the_loss_falls_steadily() -> None:
    assert all(decision([1 - i / 200 for i in range(n)]) is None for n in range(1, 25))


def test_without_the_floor_a_start_that_is_good_already_never_stops() -> None:
    flat = [0.1 + 1e-5 * (-1) ** i for i in range(200)]
    assert decision(flat, floor=0) is None
    assert decision(flat[:10]) == FLOOR


@given(st.lists(finite, min_size=5, max_size=40), st.floats(0.1, 100))
def test_scale_of_the_loss_does_not_matter(losses: list[float], scale: float) -> None:
    scaled = [loss * scale for loss in losses]
    spread = max(losses) - min(losses)
    if spread > 1e-3:
        assert decision(scaled, window=5, floor=0.0) == decision(losses, window=5, floor=0.0)


@given(st.lists(finite, min_size=5, max_size=40))
def test_a_ratio_above_one_or_a_huge_floor_always_stops(losses: list[float]) -> None:
    assert decision(losses, window=5, floor=100.0) == FLOOR


@pytest.mark.parametrize("window", [2, 31])
def test_equal_losses_stop_at_the_window(window: int) -> None:
    assert decision([0.3] * window, window=window) == FLOOR


def test_the_rate_is_whole_and_then_falls_to_zero_evenly() -> None:
    rates = [cooling(step, last=10, cool_down=4) for step in range(10)]
    assert rates == [1.0] * 7 + [0.75, 0.5, 0.25]
    assert [cooling(step, last=10, cool_down=0) for step in range(10)] == [1.0] * 10
