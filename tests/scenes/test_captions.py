"""Captions name every element once, in a defined order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import UsageError
from origcli.scenes.captions import caption, parse_caption, shuffled
from origcli.scenes.elements import ALL_ELEMENTS, Element

lists = st.lists(st.sampled_from(ALL_ELEMENTS), max_size=8)


def test_the_example() -> None:
    pair = [Element.parse("small empty blue square"), Element.parse("big red full circle")]
    assert caption(pair) == "big red full circle and small blue empty square"
    assert caption(pair, "given") == "small blue empty square and big red full circle"
    assert caption([]) == ""


@given(lists)
def test_a_caption_is_read_back(elements: list[Element]) -> None:
    assert parse_caption(caption(elements, "given")) == tuple(elements)
    assert parse_caption(caption(elements)) == tuple(sorted(elements))


@given(lists, st.randoms(use_true_random=False))
def test_a_fixed_caption_does_not_depend_on_the_order(elements: list[Element], random: Any) -> None:
    mixed = list(elements)
    random.shuffle(mixed)
    assert caption(mixed) == caption(elements)


@given(lists.filter(bool))
def test_equal_elements_are_named_each(elements: list[Element]) -> None:
    words = caption(elements * 2).split()
    assert len(words) == 5 * 2 * len(elements) - 1  # four an element, and the joints
    assert words.count("and") == 2 * len(elements) - 1


@given(lists, st.randoms(use_true_random=False))
def test_shuffling_keeps_the_multiset(elements: list[Element], random: Any) -> None:
    order = shuffled(tuple(elements), random.randrange)
    assert sorted(order) == sorted(elements)


def test_a_caption_with_an_unknown_word_is_refused() -> None:
    with pytest.raises(UsageError, match="two"):
        parse_caption("two big red full circle")
