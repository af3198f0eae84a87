"""Scores as JUnit XML, which CI systems show as test results.

The elements and attributes are those of the schema that Jenkins publishes and that GitLab, GitHub actions and
Azure read. Times are left out: equal runs are equal bytes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from origcli.reports.cases import Case, CaseState, Suite
from origcli.reports.views import visible

JUNIT_START = '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="origcli"'


def junit_chunks(suites: Sequence[Suite]) -> Iterator[str]:
    """The text of the file in pieces, the cases one by one."""
    counts = [Counter(case.state for case in suite.cases()) for suite in suites]
    yield f"{JUNIT_START}{_counts(sum(counts, Counter()))}>\n"
    for suite, count in zip(suites, counts, strict=True):
        yield f"  <testsuite name={_value(suite.model)}{_counts(count)}>\n"
        yield from _properties(suite)
        for case in suite.cases():
            yield _case(case)
        yield "  </testsuite>\n"
    yield "</testsuites>\n"


def _counts(count: Counter[CaseState]) -> str:
    return (
        f' tests="{count.total()}" failures="{count[CaseState.failed]}"'
        f' errors="{count[CaseState.broken]}" skipped="{count[CaseState.skipped]}"'
    )


def _properties(suite: Suite) -> Iterator[str]:
    if suite.properties:
        yield "    <properties>\n"
        for name, value in suite.properties.items():
            yield f"      <property name={_value(name)} value={_value(value)}/>\n"
        yield "    </properties>\n"


def _case(case: Case) -> str:
    # Some readers group by the class name and leave out a case without one.
    start = f"    <testcase classname={_value(case.group or 'images')} name={_value(case.name)}>\n"
    return f"{start}{''.join(_inside(case))}    </testcase>\n"


def _inside(case: Case) -> Iterable[str]:
    said = f"message={_value(case.reason)}"
    match case.state:
        case CaseState.failed:
            yield f"      <failure type={_value(case.kind)} {said}>{_text(case.words)}</failure>\n"
        case CaseState.broken:
            yield f"      <error type={_value(case.kind)} {said}>{_text(case.words)}</error>\n"
        case CaseState.skipped:
            yield f"      <skipped {said}/>\n"
    if case.verdict:
        yield f"      <system-out>{_text(f'{case.verdict}. {case.words}')}</system-out>\n"


def _value(text: str) -> str:
    """An attribute's value in quotes. XML has no escape for control characters, so they are made visible."""
    return quoteattr(visible(text))


def _text(text: str) -> str:
    return escape(visible(text))
