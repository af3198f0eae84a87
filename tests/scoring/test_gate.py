import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import UsageError
from origcli.reports.schema import Estimate, TokensNeeded, Verdict
from origcli.scoring.gate import parse_gate
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
        ("distance_9<1", False),
        ("distance_9>=0", False),
        ("distance_0>0.5", True),
        ("l_det_2>0", True),
        ("floor<0.2", True),
        ("psnr>20", True),
        ("percentile>0", False),
        ("verdict==redrawn", True),
        ("verdict!=redrawn", False),
    ],
)
def test_conditions(text, holds):
    assert parse_gate(text).holds(RESULT) is holds


def test_more_than_m_tokens_is_more_than_any_number():
    result = RESULT.model_copy(update={"tokens_needed": TokensNeeded(kind="not-reached", maximum=3)})
    assert parse_gate("tokens_needed>99").holds(result)
    undecided = RESULT.model_copy(update={"tokens_needed": TokensNeeded(kind="undecided", m=2, maximum=3)})
    assert not parse_gate("tokens_needed>0").holds(undecided)


def test_what_was_not_measured_fails_no_gate():
    result = RESULT.model_copy(
        update={
            "originality": Estimate.missing("x"),
            "curve": (),
            "verdict": Verdict(kind="out-of-domain", words="x"),
        }
    )
    assert not parse_gate("originality<2").holds(result)
    assert not parse_gate("distance_1<2").holds(result)
    assert parse_gate("verdict==out-of-domain").holds(result)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "originality",
        "originality<",
        "<0.3",
        "originality<0.3 or 1",
        "originality=0.3",
        "originality<nan",
        "originality<inf",
        "originality<x",
        "distance<1",
        "distance_123<1",
        "floor_1<1",
        "verdict<redrawn",
        "verdict==nice",
        "__class__==1",
    ],
)
def test_everything_else_is_a_usage_error(text):
    with pytest.raises(UsageError, match="--fail-if"):
        parse_gate(text)


@given(st.text())
def test_no_text_does_anything_else(text):
    with contextlib.suppress(UsageError):
        parse_gate(text)
