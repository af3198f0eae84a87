"""`--fail-if`: a condition on results, in a small closed grammar, for continuous integration.

    condition = field operator value
    field     = originality | tokens_needed | distance_M | distance_0 | floor | ceiling | psnr | l_det_M
              | percentile | in_distribution | verdict
    operator  = < | <= | > | >= | == | !=
    value     = a number, or a verdict: redrawn, not-redrawn, undecided, measured, out-of-domain

Nothing in it is evaluated as code. A condition on a value that a result does not have does not hold.
"""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from origcli.errors import UsageError
from origcli.reports.schema import Estimate, ScoreResult, VerdictKind

FIELDS = (
    *("originality", "tokens_needed", "distance_M", "distance_0", "floor", "ceiling", "psnr"),
    *("l_det_M", "percentile", "in_distribution", "verdict"),
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_GRAMMAR = re.compile(r"\s*([a-z_]+?)(?:_(\d{1,2}))?\s*(<=|>=|==|!=|<|>)\s*([\w.+-]+)\s*", re.ASCII)
_EXAMPLE = "e.g. --fail-if 'originality<0.3' or --fail-if 'tokens_needed==1'"


@dataclass(frozen=True)
class Gate:
    """A parsed condition.

    Attributes:
        text: as it was given.
        field: one of `FIELDS`, without its m.
        m: of `distance_M` and `l_det_M`.
    """

    text: str
    field: str
    m: int | None
    operator: str
    value: float | str

    def holds(self, result: ScoreResult) -> bool:
        """Whether a result meets the condition. "More than M" tokens counts as infinitely many."""
        found = _value_of(result, self.field, self.m)
        return found is not None and _OPERATORS[self.operator](found, self.value)


def parse_gate(text: str) -> Gate:
    """Reads a condition.

    Raises:
        UsageError: it is not of the grammar.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise UsageError(f"--fail-if {text!r}: not FIELD OPERATOR VALUE", _EXAMPLE)
    field, m, sign, value = match.groups()
    name = field if m is None else f"{field}_0" if m == "0" and field == "distance" else f"{field}_M"
    if name not in FIELDS:
        raise UsageError(
            f"--fail-if {text!r}: no field is called {field if m is None else f'{field}_{m}'!r}",
            f"choose from {', '.join(FIELDS)}",
        )
    if name == "verdict":
        if value not in [*VerdictKind] or sign not in ("==", "!="):
            raise UsageError(
                f"--fail-if {text!r}: a verdict is == or != one of {', '.join(VerdictKind)}", _EXAMPLE
            )
        return Gate(text, field, None, sign, value)
    try:
        number = float(value)
    except ValueError as error:
        raise UsageError(f"--fail-if {text!r}: {value!r} is not a number", _EXAMPLE) from error
    if not math.isfinite(number):
        raise UsageError(f"--fail-if {text!r}: {value!r} is not a finite number", _EXAMPLE)
    return Gate(text, field, None if m is None else int(m), sign, number)


def _value_of(result: ScoreResult, field: str, m: int | None) -> float | str | None:
    point = next((point for point in result.curve if point.m == m), None)
    match field:
        case "verdict":
            return str(result.verdict.kind)
        case "tokens_needed":
            return _tokens(result)
        case "distance":
            return result.distance_0.value if m == 0 else point.distance.value if point else None
        case "l_det":
            return point.l_det.value if point else None
        case "psnr":
            return result.domain_check.psnr.value
        case "percentile" | "in_distribution":
            whole = getattr(result, field)
            return whole.value.value if whole else None
    estimate: Estimate = getattr(result, field)
    return estimate.value


def _tokens(result: ScoreResult) -> float | None:
    match result.tokens_needed.kind:
        case "reached":
            return result.tokens_needed.m
        case "not-reached":
            return math.inf
    return None
