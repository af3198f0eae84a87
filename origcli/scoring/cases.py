"""The images of a finished run as cases for a CI system: which conditions hold, and what was not measured."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from origcli.reports.cases import Case, CaseState, Suite
from origcli.reports.schema import Failure, ScoreReport, ScoreResult
from origcli.reports.verdict import headline, short, threshold_words
from origcli.reports.writers import ResultLog
from origcli.scoring.gate import Gate
from origcli.scoring.run_archive import RESULTS


def suite_of(directory: Path, report: ScoreReport, gates: Sequence[Gate], *, lenient: bool) -> Suite:
    """The cases of a run, read from its directory.

    Args:
        directory: of the run.
        report: its report, with or without the results.
        gates: the conditions of `--fail-if`.
        lenient: whether images that were not measured, or not judged, are allowed.
    """
    made_by = report.provenance
    model = made_by.model.name if made_by.model else "the model"
    results = ResultLog(directory / RESULTS, ScoreResult)
    first = next(iter(results), None)  # of a run, all have the same threshold
    return Suite(
        model,
        directory,
        partial(_cases, results, report.errors, model, gates, lenient),
        [gate.text for gate in gates],
        threshold_words(first.threshold) if first else "",
        {
            "origcli": made_by.versions.get("origcli", ""),
            "model": model,
            "weights": (made_by.model and made_by.model.weights_hash) or "",
            "metric": made_by.metric.name if made_by.metric else "",
            "seed": str(made_by.seed),
        },
        [one.text for one in report.left_out],
    )


def _cases(
    results: Iterable[ScoreResult],
    failures: Iterable[Failure],
    model: str,
    gates: Sequence[Gate],
    lenient: bool,
) -> Iterator[Case]:
    for result in results:
        yield case_of(result, model, gates, lenient=lenient)
    for failure in failures:
        reason = failure.message.removeprefix(f"{failure.path}: ")
        name = failure.path or failure.message
        yield Case(name, CaseState.broken, kind=failure.code, reason=reason, words=failure.hint)


def case_of(result: ScoreResult, model: str, gates: Sequence[Gate], *, lenient: bool) -> Case:
    """The case of one image."""
    state, kind, reason = _judged(result, gates, lenient)
    known = result.originality.value is not None
    return Case(
        name=result.image.path,
        state=state,
        group=result.group,
        kind=kind,
        reason=reason,
        verdict=headline(model, result),
        originality=short(result.originality) if known else "",
        words=result.verdict.words,
        thumbnail=result.pictures.thumbnail if result.pictures else None,
        page=result.page or "report.html",
    )


def _judged(result: ScoreResult, gates: Sequence[Gate], lenient: bool) -> tuple[CaseState, str, str]:
    """State, kind and reason, as the exit status of the command would have it."""
    held = {gate.text: gate.holds(result) for gate in gates}
    if caught := [text for text, holds in held.items() if holds]:
        return CaseState.failed, "gate", f"{', '.join(caught)} holds"
    if not result.curve:
        state = CaseState.skipped if lenient else CaseState.failed
        return state, "unmeasured", "; ".join(result.domain_check.reasons) or "not measured"
    unjudged = [text for text, holds in held.items() if holds is None]
    if unjudged and not lenient:
        return CaseState.failed, "unmeasured", f"{', '.join(unjudged)} cannot be judged: no such value"
    return CaseState.passed, "", ""
