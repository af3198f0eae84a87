import numpy as np
import pytest

from origcli.perception.elements import Layout
from origcli.scenes.elements import ALL_ELEMENTS
from origcli.scoring.in_distribution import edit_test, placement_test

A, B = ALL_ELEMENTS[0], ALL_ELEMENTS[31]
QUERY = Layout(((A, (0.25, 0.25)), (B, (0.75, 0.75))))


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def scattered(count: int) -> list[Layout]:
    source = random()
    return [Layout(tuple((e, tuple(source.uniform(0.1, 0.9, 2))) for e in (A, B))) for _ in range(count)]


def test_copied_placement_is_found() -> None:
    test = placement_test(QUERY, [QUERY] * 20, scattered(20), 1, 200, random())
    assert test.value.value is not None and test.baseline is not None and test.baseline.value is not None
    assert test.holds is False and test.value.value > 0.8 and test.baseline.value < 0.15
    assert test.words.startswith("Copied")


def test_free_placement_is_in_distribution() -> None:
    test = placement_test(QUERY, scattered(20), scattered(30), 3, 200, random())
    low, value, high = test.value.low, test.value.value, test.value.high
    assert low is not None and value is not None and high is not None
    assert test.holds is True and abs(value) < 0.15 and test.m == 3
    assert low <= value <= high


def test_drawings_without_the_elements_decide_nothing() -> None:
    test = placement_test(QUERY, [Layout(())] * 5, scattered(5), 1, 50, random())
    assert test.holds is None and test.value.value is None and "no element" in (test.value.reason or "")
    test = placement_test(QUERY, [QUERY] * 5, [Layout(())] * 5, 1, 50, random())
    assert test.holds is None and "place" in (test.value.reason or "")


@pytest.mark.parametrize(
    ("gain", "distance", "holds", "words"),
    [
        (0.1, 0.4, True, "took, and the samples still look"),
        (-0.1, 0.4, False, "did not take"),
        (0.1, 0.8, False, "lost"),
        (0.0, 0.4, None, "may or may not"),
    ],
)
def test_an_edit_has_to_take_and_to_keep_the_query(
    gain: float, distance: float, holds: bool | None, words: str
) -> None:
    noise = np.linspace(-0.02, 0.02, 20)
    before = 0.2 + noise
    after = before + gain + np.roll(noise, 7)
    test = edit_test(
        list(before), list(after), list(distance + noise), 0.65, 4, "cat with {S}", 300, random()
    )
    assert test.holds is holds and words in test.words
    assert test.value.value == pytest.approx(gain, abs=1e-9) and test.prompt == "cat with {S}"
    assert test.distance is not None and test.distance.value == pytest.approx(distance)
