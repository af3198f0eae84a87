"""`--fail-if`: a condition on results, in a small closed grammar, for continuous integration.

    condition = field operator value
    field     = originality | tokens_needed | distance_M | distance_0 | floor | ceiling | psnr | l_det_M
              | l_det_0 | percentile | in_distribution | verdict
    operator  = < | <= | > | >= | = | == | !=
    value     = a number, or a verdict: redrawn, not-redrawn, undecided, measured, out-of-domain;
                with or without quotes

Nothing in it is evaluated as code. A condition that no result can meet is refused before any work; one on a
value that a result does not have cannot be judged, which is no pass.
"""

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from origcli.errors import UsageError, nearest
from origcli.reports.schema import ScoreResult, Threshold, VerdictKind
from origcli.settings import ScoreSettings

FIELDS = (
    *("originality", "tokens_needed", "distance_M", "distance_0", "floor", "ceiling", "psnr"),
    *("l_det_M", "l_det_0", "percentile", "in_distribution", "verdict"),
)
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
# The ends of what a field can be. Copy rates and similarities are at most 1, so their differences at most 2.
_SPANS = {
    "originality": (0.0, 1.0),
    "percentile": (0.0, 100.0),
    "in_distribution": (-2.0, 2.0),
    **dict.fromkeys(("distance", "floor", "ceiling", "psnr", "l_det"), (0.0, math.inf)),
}
_OF_THRESHOLD = (VerdictKind.redrawn, VerdictKind.not_redrawn, VerdictKind.undecided)
_GRAMMAR = re.compile(
    r"""\s*([a-z_]+?)(?:_(\d{1,2}))?\s*(<=|>=|==|!=|<|>|=)\s*("[^"']*"|'[^"']*'|[\w.+-]+)\s*""", re.ASCII
)
_EXAMPLE = "e.g. --fail-if 'originality<0.3' or --fail-if 'tokens_needed=1'"


@dataclass(frozen=True)
class Gate:
    """A parsed condition.

    Attributes:
        text: as it was given.
        field: one of `FIELDS`, without its m.
        m: of `distance_M` and `l_det_M`; 0 is without tokens.
        operator: one of `OPERATORS`.
    """

    text: str
    field: str
    m: int | None
    operator: str
    value: float | str

    def holds(self, result: ScoreResult) -> bool | None:
        """Whether a result meets the condition; `None` where it does not have the value.

        "More than M" tokens counts as infinitely many, and so does the PSNR of an exact round trip.
        """
        value = _value_of(result, self.field, self.m)
        return None if value is None else self.accepts(value)

    def accepts(self, value: float | str) -> bool:
        """Whether a value meets the condition."""
        return OPERATORS[self.operator](value, self.value)


def parse_gate(text: str) -> Gate:
    """Reads a condition.

    Raises:
        UsageError: it is not of the grammar.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise UsageError(f"--fail-if {text!r}: not FIELD OPERATOR VALUE", _EXAMPLE)
    field, m, sign, value = match.groups()
    sign = "==" if sign == "=" else sign
    value = value.strip("\"'").strip()

    name = field if m is None else f"{field}_0" if m == "0" else f"{field}_M"
    if name not in FIELDS:
        raise UsageError(
            f"--fail-if {text!r}: unknown field {field if m is None else f'{field}_{m}'!r}",
            f"choose from {', '.join(FIELDS)}",
        )
    if name == "verdict":
        if sign not in ("==", "!="):
            raise UsageError(f"--fail-if {text!r}: a verdict is compared with = or != alone", _EXAMPLE)
        if value not in [*VerdictKind]:
            raise UsageError(f"--fail-if {text!r}: unknown verdict {value!r}", nearest(value, VerdictKind))
        return Gate(text, field, None, sign, value)
    return Gate(text, field, None if m is None else int(m), sign, _number(value, text))


def _number(value: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise UsageError(f"--fail-if {text!r}: {value!r} is not a number", _EXAMPLE) from error
    if not math.isfinite(number):
        raise UsageError(f"--fail-if {text!r}: {value!r} is not a finite number", _EXAMPLE)
    return number


def check_gates(gates: Sequence[Gate], score: ScoreSettings, given: Sequence[int] | None = None) -> None:
    """Makes sure that each condition can be met by a result of these settings.

    Args:
        given: the token counts whose tokens are given; none are learned then.

    Raises:
        UsageError: no result can meet one.
    """
    counts = list(range(1, score.max_tokens + 1)) if given is None else sorted(given)
    for gate in gates:
        reason = _never(gate, score, counts, learned=given is None)
        if reason:
            raise UsageError(f"--fail-if {gate.text!r}: can never hold: {reason}", _EXAMPLE)


def _never(gate: Gate, score: ScoreSettings, counts: Sequence[int], learned: bool) -> str:
    """Why no result can meet a condition; empty where one can."""
    if gate.field == "percentile" and score.reference is None:
        return "a percentile needs --reference"
    if gate.field == "l_det" and not learned:
        return "tokens that are given are not learned, and have no loss"
    if gate.field == "originality" and counts != list(range(1, counts[-1] + 1)):
        return f"originality needs tokens for every m from 1 to {counts[-1]}"
    if gate.m and gate.m not in counts:
        return f"m = {gate.m} is not measured, only {', '.join(map(str, counts))}"
    if gate.field == "verdict":
        return ""
    if gate.field == "tokens_needed":
        possible = any(gate.accepts(count) for count in (*counts, math.inf))
        return "" if possible else f"tokens needed are one of {', '.join(map(str, counts))} or more"
    low, high = _SPANS[gate.field]
    inside = low <= float(gate.value) <= high
    if gate.accepts(low) or gate.accepts(high) or (gate.operator == "==" and inside):
        return ""
    return f"{gate.field} is at least {low:g}{f' and at most {high:g}' if math.isfinite(high) else ''}"


def check_threshold(gates: Sequence[Gate], threshold: Threshold) -> None:
    """Makes sure that conditions on tokens and verdicts go with the threshold that there is, or is not.

    Raises:
        UsageError: no result can meet one.
    """
    for gate in gates:
        if threshold.value is None and (
            gate.field == "tokens_needed" or (gate.operator == "==" and gate.value in _OF_THRESHOLD)
        ):
            raise UsageError(
                f"--fail-if {gate.text!r}: can never hold: {threshold.how}",
                "give --threshold or --reference, or a condition on originality",
            )
        if threshold.value is not None and (gate.operator, gate.value) == ("==", VerdictKind.measured):
            raise UsageError(
                f"--fail-if {gate.text!r}: can never hold: with a threshold images are redrawn or not",
                f"choose from {', '.join(_OF_THRESHOLD)}",
            )


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
            return result.l_det_0.value if m == 0 else point.l_det.value if point else None
        case "psnr":
            psnr = result.domain_check.psnr.value
            return math.inf if psnr is None else psnr
        case "percentile" | "in_distribution":
            whole = getattr(result, field)
            return whole.value.value if whole else None
    value: float | None = getattr(result, field).value
    return value


def _tokens(result: ScoreResult) -> float | None:
    match result.tokens_needed.kind:
        case "reached":
            return result.tokens_needed.m
        case "not-reached":
            return math.inf
    return None
