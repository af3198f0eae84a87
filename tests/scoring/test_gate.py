import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import UsageError
from origcli.reports.schema import Estimate, Threshold, TokensNeeded, Verdict, VerdictKind
from origcli.scoring.gate import FIELDS, OPERATORS, check_gates, check_threshold, parse_gate
from origcli.settings import resolve
from tests.scoring.results import score_result

RESULT = score_result(curve=(0.6, 0.4, 0.2), originality=0.25, threshold=0.3)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("originality<0.3", True),
        ("originality < 0.25", False),
        ("originality<=0.25", True),
        ("originality != 0.25", False),
        ("originality > 1e-1", True),
        ("tokens_needed==3", True),
        ("tokens_needed>3", False),
        ("distance_1>=0.6", True),
        ("distance_3<0.2", False),
        ("distance_9<1", None),
        ("distance_9>=0", None),
        ("distance_0>0.5", True),
        ("l_det_2>0", True),
        ("l_det_0>0", True),
        ("floor<0.2", True),
        ("psnr>20", True),
        ("percentile>0", None),
        ("originality=0.25", True),
        ("verdict==redrawn", True),
        ("verdict=redrawn", True),
        ("verdict='redrawn'", True),
        ('verdict = "not-redrawn"', False),
        ("verdict != 'out-of-domain'", True),
        ("verdict!=redrawn", False),
    ],
)
def test_conditions(text: str, holds: bool | None) -> None:
    assert parse_gate(text).holds(RESULT) is holds


def test_an_exact_round_trip_has_an_infinite_psnr() -> None:
    exact = RESULT.domain_check.model_copy(update={"psnr": Estimate.missing("the round trip is exact")})
    result = RESULT.model_copy(update={"domain_check": exact})
    assert parse_gate("psnr>99").holds(result) is True and parse_gate("psnr<20").holds(result) is False


def test_more_than_m_tokens_is_more_than_any_number() -> None:
    result = RESULT.model_copy(update={"tokens_needed": TokensNeeded(kind="not-reached", maximum=3)})
    assert parse_gate("tokens_needed>99").holds(result)
    undecided = RESULT.model_copy(update={"tokens_needed": TokensNeeded(kind="undecided", m=2, maximum=3)})
    assert parse_gate("tokens_needed>0").holds(undecided) is None


def test_what_was_not_measured_cannot_be_judged() -> None:
    result = RESULT.model_copy(
        update={
            "originality": Estimate.missing("x"),
            "curve": (),
            "verdict": Verdict(kind="out-of-domain", words="x"),
        }
    )
    assert parse_gate("originality<2").holds(result) is None
    assert parse_gate("distance_1<2").holds(result) is None
    assert parse_gate("verdict=out-of-domain").holds(result) is True


@pytest.mark.parametrize(
    "text",
    [
        "",
        "originality",
        "originality<",
        "<0.3",
        "originality<0.3 or 1",
        "originality=<0.3",
        "originality<'0.3",
        "originality<nan",
        "originality<inf",
        "originality<x",
        "distance<1",
        "distance_123<1",
        "floor_1<1",
        "verdict<redrawn",
        "verdict==nice",
        "verdict=''",
        "__class__==1",
    ],
)
def test_everything_else_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--fail-if"):
        parse_gate(text)


@given(st.text())
def test_no_text_does_anything_else(text: Any) -> None:
    with contextlib.suppress(UsageError):
        parse_gate(text)


SPACE, QUOTE = st.sampled_from(["", " ", "\t"]), st.sampled_from(["", "'", '"'])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def conditions(draw: Any) -> Any:
    """A condition of the grammar, and what it says: field, m, operator, value."""
    name = draw(st.sampled_from(FIELDS))
    field, m = name, None
    if name.endswith("_M"):
        m = draw(st.integers(1, 99))
        name, field = name.removesuffix("M") + str(m), name.removesuffix("_M")
    elif name.endswith("_0"):
        field, m = name.removesuffix("_0"), 0
    if name == "verdict":
        sign, value = draw(st.sampled_from(["=", "==", "!="])), str(draw(st.sampled_from(VerdictKind)))
    else:
        sign, value = draw(st.sampled_from(["=", *OPERATORS])), draw(NUMBERS)
    quote = draw(QUOTE)
    text = draw(SPACE).join(["", name, sign, f"{quote}{value}{quote}", ""])
    return text, (field, m, "==" if sign == "=" else sign, value)


@given(conditions())
def test_every_condition_of_the_grammar_says_what_it_says(condition: Any) -> None:
    text, (field, m, sign, value) = condition
    gate = parse_gate(text)
    assert (gate.field, gate.m, gate.operator, gate.value) == (field, m, sign, value)
    assert gate.accepts(value) is (sign in ("<=", ">=", "=="))


def score_settings(**changes: Any) -> Any:
    return resolve({"score": changes}, environment={})[0].score


@pytest.mark.fault(51, "a condition that can never hold is refused before any work")
@pytest.mark.parametrize(
    ("text", "given_tokens", "reason"),
    [
        ("originality<0", None, "at least 0 and at most 1"),
        ("originality>1", None, "at least 0"),
        ("originality=7", None, "at most 1"),
        ("distance_1<0", None, "at least 0"),
        ("psnr<=-1", None, "at least 0"),
        ("tokens_needed<1", None, "1, 2, 3, 4, 5 or more"),
        ("tokens_needed=2.5", None, "1, 2, 3, 4, 5 or more"),
        ("distance_6<1", None, "m = 6 is not measured"),
        ("l_det_6<1", None, "m = 6 is not measured"),
        ("percentile<50", None, "--reference"),
        ("l_det_2<1", [2], "have no loss"),
        ("originality<0.3", [2], "every m from 1 to 2"),
        ("distance_1<1", [2], "m = 1 is not measured, only 2"),
    ],
)
def test_a_condition_that_can_never_hold_is_refused(text: str, given_tokens: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=f"can never hold: .*{reason}"):
        check_gates([parse_gate(text)], score_settings(), given_tokens)


@pytest.mark.parametrize(
    "text",
    [
        *("originality<0.3", "originality<=0", "originality>=1", "tokens_needed>5", "tokens_needed=5"),
        *("distance_5<1", "distance_0>=0", "psnr>1000", "verdict=out-of-domain", "in_distribution>0.1"),
    ],
)
def test_a_condition_that_can_hold_is_taken(text: Any) -> None:
    check_gates([parse_gate(text)], score_settings())


def test_conditions_on_tokens_need_a_threshold() -> None:
    none = Threshold(value=None, source="none", how="no threshold is calibrated")
    some = Threshold(value=0.3, source="flag", how="given")
    for text in ("tokens_needed>1", "verdict=redrawn"):
        check_threshold([parse_gate(text)], some)
        with pytest.raises(UsageError, match="no threshold is calibrated"):
            check_threshold([parse_gate(text)], none)
    for text in ("verdict!=redrawn", "verdict=out-of-domain", "originality<0.3", "verdict=measured"):
        check_threshold([parse_gate(text)], none)
    with pytest.raises(UsageError, match="redrawn or not"):
        check_threshold([parse_gate("verdict=measured")], some)


@given(NUMBERS, st.sampled_from([*OPERATORS]), st.floats(0, 1))
def test_what_a_result_meets_is_never_refused(value: Any, sign: Any, found: Any) -> None:
    gate = parse_gate(f"originality{sign}{value!r}")
    if gate.accepts(found):
        check_gates([gate], score_settings())
    tokens = parse_gate(f"tokens_needed{sign}{value!r}")
    if any(tokens.accepts(count) for count in (1, 2, 3, 4, 5, math.inf)):
        check_gates([tokens], score_settings())
