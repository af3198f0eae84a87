"""Estimates, failures and the facts of a picture: what JSON cannot hold never gets in."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from origcli.errors import InputError
from origcli.reports.schema import Estimate, Failure, ImageFacts, ModelFacts, ScoreResult
from origcli.runtime.paths import path_text
from tests.reports import samples

numbers = st.floats(allow_nan=True, allow_infinity=True)


@pytest.mark.fault(25, "null and a reason")
@given(numbers, numbers, numbers)
def test_any_number_becomes_a_value_or_a_reason(value: float, a: float, b: float) -> None:
    ends = (a, b) if math.isnan(a) or math.isnan(b) else (min(a, b), max(a, b))
    estimate = Estimate.of(value, *ends)
    assert (estimate.value is None) == (not math.isfinite(value))
    assert bool(estimate.reason) == (estimate.value is None)
    assert Estimate.model_validate(json.loads(json.dumps(estimate.to_json(), allow_nan=False))) == estimate


def test_nan_says_what_it_was() -> None:
    assert Estimate.of(math.nan).to_json() == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "not a number",
    }
    assert Estimate.of(-math.inf).reason == "infinite"


@pytest.mark.parametrize(
    "fields",
    [
        {"value": None},
        {"value": 1.0, "reason": "both"},
        {"value": 1.0, "low": 0.5},
        {"value": 1.0, "low": 2.0, "high": 1.0},
        {"value": math.nan},
        {"value": 1.0, "extra": 1},
    ],
)
def test_half_an_estimate_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Estimate.model_validate(fields)


def test_a_nan_never_enters_a_result() -> None:
    values = samples.result(None).model_dump(by_alias=True)
    values["curve"][0]["distances"] = [[math.nan]]
    with pytest.raises(ValidationError):
        ScoreResult.model_validate(values)


def test_a_failure_keeps_a_path_that_is_no_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.png"))
    failure = Failure.of(InputError(f"{path}: no such file"), path)
    text = json.dumps(failure.to_json(), ensure_ascii=False)
    assert text.encode("utf-8")
    facts = ImageFacts(path=path_text(path), sha256="0", width=1, height=1)
    assert os.fsencode(facts.file) == os.fsencode(path)
    assert failure.path == facts.path
    assert failure.code == "input"


@pytest.mark.parametrize("name", ["../up", "a/b", "", "-x", "Upper", "<script>", "a" * 81])
def test_an_id_is_fit_for_a_file_name(name: str) -> None:
    with pytest.raises(ValidationError):
        ScoreResult.model_validate({**samples.result(None).model_dump(by_alias=True), "id": name})


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError):
        ModelFacts(name="a").name = "b"  # type: ignore[misc]
