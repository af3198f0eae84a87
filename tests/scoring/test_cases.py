"""The cases of images for CI systems: they end as the exit status of the command says."""

import pytest

from origcli.reports.cases import CaseState
from origcli.scoring.cases import case_of
from origcli.scoring.gate import parse_gate
from tests.reports import samples


@pytest.mark.parametrize(
    ("condition", "outside", "lenient", "state", "kind"),
    [
        (None, False, False, CaseState.passed, ""),
        ("originality<0.9", False, False, CaseState.failed, "gate"),
        ("originality<0.01", False, False, CaseState.passed, ""),
        ("originality<0.9", True, False, CaseState.failed, "unmeasured"),
        ("originality<0.9", True, True, CaseState.skipped, "unmeasured"),
        ("verdict=out-of-domain", True, True, CaseState.failed, "gate"),
        ("percentile<5", False, False, CaseState.failed, "unmeasured"),
        ("percentile<5", False, True, CaseState.passed, ""),
    ],
)
def test_a_case_ends_as_the_exit_status_says(
    condition: str | None, outside: bool, lenient: bool, state: CaseState, kind: str
) -> None:
    gates = [parse_gate(condition)] if condition else []
    case = case_of(samples.result(None, outside=outside), "shapes", gates, lenient=lenient)
    assert (case.state, case.kind) == (state, kind)
    assert bool(case.reason) == (kind != "")
