"""What can be seen of elements, against points scattered over them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from origcli.scenes.elements import ALL_ELEMENTS, Element
from origcli.scenes.geometry import half_extent, signed_distance
from origcli.scenes.scene import Placed, whole_box
from origcli.scenes.visibility import arrange

elements = st.sampled_from(ALL_ELEMENTS)
# In the middle, so that elements often lie over each other.
places = st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65))
SCATTER = qmc.Sobol(2, seed=0).random_base2(14)


def covers(item: Placed, points: np.ndarray) -> np.ndarray:
    """Which points (n, 2) of the picture an element covers."""
    return signed_distance(points[:, 0] - item.x, points[:, 1] - item.y, *item.element.kind) <= 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(elements, places), min_size=2, max_size=5))
def test_boxes_and_hidden_shares_are_those_of_scattered_points(
    things: list[tuple[Element, tuple[float, float]]],
) -> None:
    placed = arrange([element for element, _ in things], [place for _, place in things])
    for i, item in enumerate(placed):
        box = np.array(whole_box(item.element, item.x, item.y))
        points = box[:2] + SCATTER * (box[2:] - box[:2])
        points = points[covers(item, points)]
        seen = points
        for above in placed[i + 1 :]:
            seen = seen[~covers(above, seen)]
        assert item.covered == pytest.approx(1 - len(seen) / len(points), abs=0.02)
        if item.box is None:
            assert item.covered == 1.0
        elif item.covered < 0.9:
            # But for slivers that fall between the points of a grid, what shows ends where the box does.
            low, high = np.quantile(seen, [0.002, 0.998], axis=0)
            assert ((np.concatenate([low, high]) - item.box) * (1, 1, -1, -1)).min() > -2 / 1024
            ends = np.concatenate([seen.min(axis=0), seen.max(axis=0)])
            assert ((ends - item.box) * (1, 1, -1, -1)).max() < 0.04


@settings(deadline=None)
@given(st.lists(st.tuples(elements, places), max_size=5))
def test_the_last_element_is_never_hidden(things: list[tuple[Element, tuple[float, float]]]) -> None:
    placed = arrange([element for element, _ in things], [place for _, place in things])
    if placed:
        last = placed[-1]
        assert (last.covered, last.box) == (0.0, whole_box(last.element, last.x, last.y))


def test_elements_apart_have_exact_boxes() -> None:
    star, square = Element.parse("big red full star"), Element.parse("small blue full square")
    placed = arrange([star, square], [(0.25, 0.3), (0.8, 0.7)])
    half_width, half_height = half_extent("star", "big")
    assert placed[0].box == (0.25 - half_width, 0.3 - half_height, 0.25 + half_width, 0.3 + half_height)
    assert [item.covered for item in placed] == [0.0, 0.0]


def test_a_square_under_a_square() -> None:
    below, above = Element.parse("big red full square"), Element.parse("big blue full square")
    (item, _) = arrange([below, above], [(0.4, 0.5), (0.5, 0.5)])
    half = half_extent("square", "big")[0]
    assert item.covered == pytest.approx(1 - 0.1 / (2 * half), abs=0.01)
    assert item.box is not None
    assert item.box[:2] == (0.4 - half, 0.5 - half)  # sides that show are exact
    assert item.box[2] == pytest.approx(0.5 - half, abs=2 / 1024)
    assert arrange([below, above], [(0.5, 0.5), (0.5, 0.5)])[0].box is None


def test_a_square_shows_through_an_empty_one() -> None:
    below, above = Element.parse("small red full circle"), Element.parse("big blue empty square")
    (item, _) = arrange([below, above], [(0.5, 0.5), (0.5, 0.5)])
    assert item.covered == 0.0
