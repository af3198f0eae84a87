import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from origcli.detection.detector import Detection
from origcli.perception.elements import (
    ElementsDistance,
    Layout,
    copy_counts,
    count_copied,
    layouts_of,
    permuted_counts,
)
from origcli.scenes.elements import ALL_ELEMENTS

RED, BLUE = ALL_ELEMENTS[0], ALL_ELEMENTS[7]
PLACES = st.tuples(st.floats(0, 1), st.floats(0, 1))
LAYOUTS = st.lists(st.tuples(st.sampled_from(ALL_ELEMENTS[:3]), PLACES), max_size=5).map(
    lambda placed: Layout(tuple(placed))
)


class Said:
    """A detector that says what it is told, picture by picture."""

    weights_hash, confidence = "abc", 0.9

    def __init__(self, *seen: Any) -> None:
        self.seen = [list(one) for one in seen]

    def detect(self, images: Any) -> Any:
        return self.seen[: len(images)]


def detected(element: Any, *box: Any) -> Any:
    return Detection(element, 0.95, box)


def test_features_are_elements_with_centres_as_fractions() -> None:
    metric = ElementsDistance(Said([detected(RED, 10, 20, 30, 40), detected(BLUE, 0, 0, 100, 50)], []))
    first, second = metric.features([Image.new("RGB", (100, 50))] * 2)
    assert first.placed == ((RED, (0.2, 0.6)), (BLUE, (0.5, 0.5)))
    assert second.placed == ()
    assert metric.version == "1/abc/0.9"


def test_what_is_kept_of_layouts_survives_json() -> None:
    layouts = [Layout(((RED, (0.25, 0.5)), (BLUE, (0.75, 0.1)))), Layout(())]
    kept = json.loads(json.dumps(ElementsDistance(Said()).facts_of(layouts)))
    assert layouts_of(kept) == layouts


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ((), (), 0.0),
        ((), (RED,), 1.0),
        ((RED,), (RED,), 0.0),
        ((RED,), (BLUE,), 1.0),
        ((RED, BLUE), (RED,), 1 / 3),
        ((RED, RED), (RED,), 1 / 3),
        ((RED, RED, BLUE), (RED, BLUE, BLUE), 1 / 3),
    ],
)
def test_distance_is_one_minus_f1_of_the_multisets(a: Any, b: Any, distance: Any) -> None:
    layouts = [Layout(tuple((element, (0.5, 0.5)) for element in one)) for one in (a, b)]
    assert ElementsDistance(Said()).between(*layouts) == pytest.approx(distance)


@given(LAYOUTS, LAYOUTS)
def test_distance_is_symmetric_and_in_the_unit_interval(a: Any, b: Any) -> None:
    metric = ElementsDistance(Said())
    assert 0 <= metric.between(a, b) <= 1
    assert metric.between(a, b) == metric.between(b, a)
    assert metric.between(a, a) == 0


def test_copied_placement_is_counted_within_a_tenth_of_the_width() -> None:
    query = Layout(((RED, (0.2, 0.2)), (BLUE, (0.8, 0.8))))
    near = Layout(((BLUE, (0.75, 0.8)), (RED, (0.2, 0.29))))
    far = Layout(((RED, (0.2, 0.31)), (BLUE, (0.8, 0.8))))
    assert count_copied(query, near) == (2, 2)
    assert count_copied(query, far) == (1, 2)
    assert count_copied(query, Layout(((RED, (0.2, 0.2)),))) == (1, 1)
    assert count_copied(query, Layout(())) == (0, 0)


def test_elements_of_one_class_are_matched_so_that_distances_are_least() -> None:
    """Taking the nearest first would pair (0.5 with 0.45) and leave 0.3 with 0.65."""
    query = Layout(((RED, (0.5, 0.5)), (RED, (0.4, 0.5))))
    drawing = Layout(((RED, (0.42, 0.5)), (RED, (0.58, 0.5))))
    assert count_copied(query, drawing) == (2, 2)


@given(LAYOUTS)
def test_a_copy_is_copied_whole(layout: Any) -> None:
    counts = count_copied(layout, layout)
    assert counts == (len(layout.placed), len(layout.placed))


def test_permuted_queries_measure_chance() -> None:
    random = np.random.default_rng(0)

    def scattered(count: int) -> Any:
        return [
            Layout(((RED, tuple(random.random(2))), (BLUE, tuple(random.random(2))))) for _ in range(count)
        ]

    query = Layout(((RED, (0.2, 0.2)), (BLUE, (0.8, 0.8))))
    copies, others, free = [query] * 20, scattered(20), scattered(400)
    assert copy_counts(query, copies).sum(0).tolist() == [40, 40]
    copied, matched = permuted_counts(query, copies, others, random).sum(0)
    assert matched == 20 * 20 * 2 and copied / matched < 0.1
    ours = copy_counts(query, free).sum(0)
    chance = permuted_counts(query, free, others, random).sum(0)
    assert ours[0] / ours[1] - chance[0] / chance[1] == pytest.approx(0, abs=0.03)


def test_without_other_places_there_is_no_chance_to_measure() -> None:
    query = Layout(((RED, (0.2, 0.2)),))
    none = permuted_counts(query, [query], [Layout(())], np.random.default_rng(0))
    assert none.tolist() == [[0, 0]]
