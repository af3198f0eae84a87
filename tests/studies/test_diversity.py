"""The plan of the generalization study: its symmetry, and that it stays the same."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import UsageError
from origcli.scenes.captions import parse_caption
from origcli.studies.generalization.diversity import (
    MOST_REPEATS,
    Experiment,
    caption_pool,
    choose,
    held_out_of,
    plan,
    possible_levels,
    span_of,
)

levels = st.sampled_from(possible_levels())
numbers = st.integers(0, MOST_REPEATS - 1)


def test_the_left_end_is_the_supplements() -> None:
    """2.2: two shapes and two colors; big full, big empty, small full, small empty."""
    spans = [span_of(4, number) for number in range(4)]
    assert [(one.sizes, one.textures) for one in spans] == [
        (("big",), ("full",)),
        (("big",), ("empty",)),
        (("small",), ("full",)),
        (("small",), ("empty",)),
    ]
    assert {(one.colors, one.shapes) for one in spans} == {(("red", "blue"), ("circle", "square"))}


@given(levels, numbers)
def test_a_span_has_as_many_elements_as_its_level_and_the_held_out_one_among_them(
    level: int, number: int
) -> None:
    span = span_of(level, number)
    assert len(span.elements) == level
    assert held_out_of(number) in span.elements


@given(levels, numbers)
def test_every_feature_of_the_held_out_element_is_seen_on_others(level: int, number: int) -> None:
    one = plan([level], number + 1)[number]
    for feature in ("size", "color", "texture", "shape"):
        value = getattr(one.held_out, feature)
        assert any(getattr(other, feature) == value for other in one.trained_on)
    assert one.held_out not in one.trained_on
    assert len(one.trained_on) == level - 1


@given(levels)
def test_four_experiments_hold_out_every_value_equally_often(level: int) -> None:
    held_out = [one.held_out for one in plan([level], 4)]
    for feature, values in (("size", 2), ("color", 2), ("texture", 2), ("shape", 2)):
        counts = Counter(getattr(element, feature) for element in held_out)
        assert sorted(counts.values()) == [2] * values


@given(st.lists(levels, min_size=1, max_size=4, unique=True), st.integers(1, MOST_REPEATS))
def test_no_two_experiments_are_the_same(chosen: list[int], repeats: int) -> None:
    experiments = plan(chosen, repeats)
    assert len({one.name for one in experiments}) == len(experiments)
    assert len({(one.span, one.held_out) for one in experiments}) == len(experiments)


@given(st.lists(levels, min_size=2, max_size=5, unique=True), st.integers(1, 4))
def test_the_plan_of_fewer_is_a_part_of_the_plan_of_more(chosen: list[int], repeats: int) -> None:
    assert set(plan(chosen[:1], repeats)) <= set(plan(chosen, repeats + 1))


@given(levels)
def test_levels_hold_out_the_same_elements(level: int) -> None:
    assert [one.held_out for one in plan([level], 4)] == [one.held_out for one in plan([60], 4)]


@pytest.mark.parametrize(("chosen", "repeats"), [([7], 1), ([61], 1), ([2], 1), ([4, 4], 1), ([4], 17)])
def test_what_there_is_not_is_refused(chosen: Sequence[int], repeats: int) -> None:
    with pytest.raises(UsageError):
        plan(chosen, repeats)


def names(experiments: Sequence[Experiment]) -> list[str]:
    return [one.name for one in experiments]


def test_experiments_are_chosen_by_name_or_pattern() -> None:
    experiments = plan([4, 30], 3)
    assert choose(experiments, []) == experiments
    assert choose(experiments, [experiments[2].name]) == [experiments[2]]
    assert names(choose(experiments, ["30-*", experiments[0].name])) == [
        experiments[0].name,
        *names(experiments[3:]),
    ]
    with pytest.raises(UsageError, match="05-"):
        choose(experiments, ["05-*"])


def test_the_hash_depends_on_what_the_model_depends_on() -> None:
    one, other = plan([4], 2)
    assert one.facts({"a": 1}, 0) == one.facts({"a": 1}, 0)
    for changed in (other.facts({"a": 1}, 0), one.facts({"a": 2}, 0), one.facts({"a": 1}, 1)):
        assert changed != one.facts({"a": 1}, 0)


def test_the_shared_captions_name_all_sixty_elements_and_are_real_captions() -> None:
    pool = caption_pool(2, 500, seed=0)
    assert pool == caption_pool(2, 500, seed=0) != caption_pool(2, 500, seed=1)
    assert len({text for text in pool if len(parse_caption(text)) == 1}) == 60
    assert max(len(parse_caption(text)) for text in pool) == 2
