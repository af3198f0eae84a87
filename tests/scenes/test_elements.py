"""The 60 elements, their words and their selection."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import UsageError
from origcli.scenes.elements import ALL_ELEMENTS, FEATURES, Element, select_elements

elements = st.sampled_from(ALL_ELEMENTS)


def test_there_are_sixty_in_the_order_of_their_index() -> None:
    assert len(set(ALL_ELEMENTS)) == 60
    assert [element.index for element in ALL_ELEMENTS] == list(range(60))
    assert sorted(reversed(ALL_ELEMENTS)) == list(ALL_ELEMENTS)


@given(elements, st.permutations(range(4)))
def test_a_phrase_is_read_in_any_order(element: Element, order: list[int]) -> None:
    words = element.phrase.split()
    assert words == [element.size, element.color, element.texture, element.shape]
    assert Element.parse(" ".join(words[i] for i in order)) == element


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("big red full cirkle", "cirkle"),
        ("big red circle", "texture"),
        ("big small red full circle", "'small'"),
        ("", "empty"),
    ],
)
def test_what_is_no_phrase_is_named(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Element.parse(text)


def test_unknown_words_are_answered_with_the_valid_ones() -> None:
    with pytest.raises(UsageError) as caught:
        select_elements(shapes=("circle", "pentagon"))
    assert "pentagon" in caught.value.message
    assert all(shape in caught.value.hint for shape in FEATURES["shape"])


@given(st.tuples(*(st.sets(st.sampled_from(values), min_size=1) for values in FEATURES.values())))
def test_subsets_span_their_product(chosen: tuple[set[str], ...]) -> None:
    span = select_elements(*(tuple(values) for values in chosen))
    assert {element.features for element in span} == set(itertools.product(*chosen))


def test_a_partial_description_holds_out_all_that_it_matches() -> None:
    kept = select_elements(hold_out=["blue circle", "small red full star"])
    gone = set(ALL_ELEMENTS) - set(kept)
    assert len(gone) == 5
    assert {e.phrase for e in gone if e.shape == "star"} == {"small red full star"}
    assert all(e.color == "blue" for e in gone if e.shape == "circle")


def test_a_hold_out_that_matches_nothing_or_all_is_refused() -> None:
    with pytest.raises(UsageError, match="matches none"):
        select_elements(colors=("red",), hold_out=["blue circle"])
    with pytest.raises(UsageError, match="no element is left"):
        select_elements(colors=("red",), hold_out=["red"])
