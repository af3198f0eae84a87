from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from origcli.detection.counting import f1, multiset
from origcli.detection.detector import Detection
from origcli.scenes.elements import ALL_ELEMENTS

multisets = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 5)).map(Counter)


def test_two_empty_pictures_agree() -> None:
    assert f1(Counter(), Counter()) == 1.0


@given(multisets.filter(bool))
def test_an_empty_picture_agrees_with_no_other(some: Any) -> None:
    assert f1(some, Counter()) == f1(Counter(), some) == 0.0


@given(multisets)
def test_a_picture_agrees_with_itself(some: Any) -> None:
    assert f1(some, some) == 1.0


@given(multisets, multisets)
def test_agreement_is_symmetric_and_a_share(a: Any, b: Any) -> None:
    assert f1(a, b) == f1(b, a)
    assert 0.0 <= f1(a, b) <= 1.0
    assert (f1(a, b) == 1.0) == (a == b)


@given(multisets, multisets)
def test_agreement_is_the_f1_of_precision_and_recall(a: Any, b: Any) -> None:
    shared = (a & b).total()
    if shared:
        precision, recall = shared / a.total(), shared / b.total()
        assert abs(f1(a, b) - 2 * precision * recall / (precision + recall)) < 1e-12


def test_a_second_one_counts() -> None:
    assert f1(Counter("aa"), Counter("a")) == 2 / 3
    assert f1(Counter("aab"), Counter("abb")) == 2 * 2 / 6


def test_detections_become_a_multiset() -> None:
    big, small = ALL_ELEMENTS[0], ALL_ELEMENTS[30]
    found = [Detection(e, 0.9, (0, 0, 1, 1)) for e in (big, small, big)]
    assert multiset(found) == Counter({big: 2, small: 1})
