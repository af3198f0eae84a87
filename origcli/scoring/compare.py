"""The same images under two or more models: what a fine-tune has learned, image by image and in groups.

The runs share metric, prompt, sampling seeds and budget, so what is left between them is the model, or how
it is sampled. The sampling seeds are resampled jointly: sample i of both runs began from the same noise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from origcli.errors import InputError, UsageError
from origcli.reports.compare import (
    ComparedRun,
    ComparedScore,
    CompareReport,
    CompareResult,
    CompareSummary,
    DistanceDifference,
    DistancePoint,
    GroupDifference,
    PairedDifference,
)
from origcli.reports.compare_page import compare_html
from origcli.reports.envelope import Estimate, Provenance, Status
from origcli.reports.provenance import build_provenance
from origcli.reports.score import ScoreReport, ScoreResult, TokensNeeded
from origcli.reports.verdict import tokens
from origcli.reports.writers import read_report, write_report
from origcli.runtime.atomic import write_text
from origcli.runtime.provenance import hash_value
from origcli.runtime.seeding import derive_seed
from origcli.scoring import measure
from origcli.scoring.measure import Array
from origcli.scoring.statistics import LEAST_FOR_A_TEST, estimate, resampled, sign_flip_p_value
from origcli.scoring.thresholds import learning_budget
from origcli.settings import current_names

_ALIKE = {  # what is called by another name in an error
    "metric": "metric",
    "prompt": "prompt",
    "samples": "number of samples",
    "seeds": "sampling seeds",
    "max_tokens": "maximum number of tokens",
    "crop": "crop",
    "repeats": "number of repeats",
}


@dataclass(frozen=True)
class Run:
    """A score run to compare.

    Attributes:
        name: unique among the runs compared.
        directory: where the samples' files are.
    """

    name: str
    directory: Path
    report: ScoreReport

    @property
    def by_hash(self) -> dict[str, ScoreResult]:
        """Its results by the sha256 of the image; of equal images, the first."""
        results: dict[str, ScoreResult] = {}
        for result in self.report.results:
            results.setdefault(result.image.sha256, result)
        return results


def compare_runs(directories: Sequence[Path]) -> tuple[CompareReport, list[Run]]:
    """Compares score runs, each with the first.

    Args:
        directories: of the runs, or their report.json; the first is what the others are held against.

    Raises:
        InputError: one is no score report of this version, or they have no image in common.
        UsageError: there are fewer than two, or they do not match; names the first difference.
    """
    if len(directories) < 2:
        raise UsageError("a comparison takes two runs or more", "origcli compare BASE_RUN OTHER_RUN")
    runs = _named([_read(path) for path in directories])
    for other in runs[1:]:
        _refuse_mismatch(runs[0], other)

    results = list(_results(runs))
    if not results:
        raise InputError(
            f"{runs[0].directory} and {runs[1].directory}: no image is in both",
            "score the same image files in each run; they are matched by content",
        )
    made_by = _provenance(runs)
    random = np.random.default_rng(derive_seed(made_by.seed, "compare", "groups"))
    summary = CompareSummary(
        runs=tuple(_described(run, len(results)) for run in runs),
        differing=_differing(runs),
        groups=tuple(_group_differences(results, runs, _replicates(runs[0]), random)),
    )
    report = CompareReport(
        status=Status.complete, provenance=made_by, results=tuple(results), summary=summary
    )
    return report, runs


def write_comparison(directory: Path, report: CompareReport, runs: Sequence[Run]) -> None:
    """Writes report.json, report.csv and report.html.

    Raises:
        StorageError: the disk is full or the directory cannot be written.
    """
    write_report(directory, report)
    page = compare_html(report, [run.directory for run in runs], [run.by_hash for run in runs])
    write_text(directory / "report.html", page)


def _read(path: Path) -> tuple[Path, ScoreReport]:
    report = read_report(path, "score")
    assert isinstance(report, ScoreReport)
    return (path if path.is_dir() else path.parent), report


def _named(reports: Sequence[tuple[Path, ScoreReport]]) -> list[Run]:
    """The runs, called by their model; by their directory too where models share a name."""
    models = [report.provenance.model.name if report.provenance.model else "model" for _, report in reports]
    names: list[str] = []
    for (directory, _), model in zip(reports, models, strict=True):
        name = model if models.count(model) == 1 else f"{model} ({directory.resolve().name})"
        names.append(name if name not in names else f"{name} {len(names) + 1}")
    return [Run(name, directory, report) for name, (directory, report) in zip(names, reports, strict=True)]


def _conditions(report: ScoreReport) -> dict[str, Any]:
    """What two runs have to share for their scores of one image to differ by the model alone."""
    facts = report.provenance
    score, invert = facts.settings.get("score"), facts.settings.get("invert")
    score = current_names("score", score) if isinstance(score, Mapping) else {}
    return {
        "metric": f"{facts.metric.name} {facts.metric.version}" if facts.metric else None,
        "prompt": score.get("prompt"),
        "samples": score.get("samples"),
        "seeds": list(facts.seeds),
        "max_tokens": score.get("max_tokens"),
        "crop": score.get("crop"),
        "repeats": score.get("repeats"),
        **learning_budget(invert if isinstance(invert, Mapping) else {}),
    }


def _refuse_mismatch(base: Run, other: Run) -> None:
    expected, found = _conditions(base.report), _conditions(other.report)
    for name, value in expected.items():
        if found[name] != value:
            shown = "" if name == "seeds" else f": {value} and {found[name]}"
            raise UsageError(
                f"{base.directory} and {other.directory} cannot be compared: their "
                f"{_ALIKE.get(name, name.replace('_', ' '))} differs{shown}",
                "score the images with the same settings; the model and how it is sampled may differ",
            )


def _differing(runs: Sequence[Run]) -> dict[str, tuple[Any, ...]]:
    """The settings in which the runs differ, one value a run."""
    facts = [run.report.provenance for run in runs]
    compared: dict[str, list[Any]] = {
        "model": [fact.model.weights_hash if fact.model else None for fact in facts],
        "steps": [_steps(fact) for fact in facts],
        "scheduler": [fact.scheduler for fact in facts],
        "guidance": [fact.guidance for fact in facts],
        "dtype": [fact.dtype for fact in facts],
        "device": [fact.device for fact in facts],
        "versions": [hash_value(fact.versions) for fact in facts],
    }
    return {
        name: tuple(values) for name, values in compared.items() if len({str(value) for value in values}) > 1
    }


def _steps(facts: Provenance) -> int | None:
    draw = facts.settings.get("draw")
    steps = draw.get("steps") if isinstance(draw, Mapping) else None
    return steps if isinstance(steps, int) else None


def _replicates(run: Run) -> int:
    score = run.report.provenance.settings.get("score")
    value = score.get("bootstrap") if isinstance(score, Mapping) else None
    return value if isinstance(value, int) else 1000


def _described(run: Run, compared: int) -> ComparedRun:
    facts = run.report.provenance
    return ComparedRun(
        name=run.name,
        model=facts.model,
        steps=_steps(facts),
        scheduler=facts.scheduler,
        guidance=facts.guidance,
        settings_hash=facts.settings_hash,
        images=len(run.report.results),
        not_compared=len(run.by_hash) - compared,
    )


def _results(runs: Sequence[Run]) -> Iterator[CompareResult]:
    """The images that are in every run, in the order of the first."""
    tables = [run.by_hash for run in runs]
    for sha256, first in tables[0].items():
        if not all(sha256 in table for table in tables):
            continue
        scores = [table[sha256] for table in tables]
        base = scores[0]
        yield CompareResult(
            id=first.id,
            image=first.image,
            group=first.group,
            scores=tuple(_score(run.name, score) for run, score in zip(runs, scores, strict=True)),
            differences=tuple(
                _difference(runs[0], base, run, score)
                for run, score in zip(runs[1:], scores[1:], strict=True)
            ),
        )


def _score(name: str, result: ScoreResult) -> ComparedScore:
    return ComparedScore(
        run=name,
        id=result.id,
        verdict=result.verdict.kind,
        originality=result.originality,
        tokens_needed=result.tokens_needed,
        threshold=result.threshold.value,
        curve=tuple(DistancePoint(m=point.m, distance=point.distance) for point in result.curve),
    )


def _difference(base_run: Run, base: ScoreResult, run: Run, other: ScoreResult) -> PairedDifference:
    seed = derive_seed(base_run.report.provenance.seed, "compare", base.image.sha256)
    originality, distances = paired(base, other, _replicates(base_run), seed)
    clear = None if originality.low is None else not _holds(originality, 0.0)
    return PairedDifference(
        run=run.name,
        base=base_run.name,
        originality=originality,
        distances=distances,
        clear=clear,
        words=sentence(base_run.name, base, run.name, other, originality, clear),
    )


def paired(
    base: ScoreResult, other: ScoreResult, replicates: int, seed: int
) -> tuple[Estimate, tuple[DistanceDifference, ...]]:
    """The differences of two results of one image, `other` less `base`: of originality, and of each d(m).

    Both are resampled with the same random numbers, so the same sampling seeds stand in both.
    """
    measured = {point.m for point in other.curve}
    shared = [point.m for point in base.curve if point.m in measured]
    if not shared:
        return Estimate.missing("the image was not measured in both runs"), ()
    curves, samples = [], []
    for result in (base, other):
        distances = distances_of(result, shared)
        curves.append(measure.curve(distances))  # (M,)
        samples.append(measure.resampled_curves(distances, replicates, np.random.default_rng(seed)))  # (B, M)

    apart = curves[1] - curves[0]
    intervals = measure.interval(samples[1] - samples[0])
    points = tuple(
        DistanceDifference(m=m, difference=estimate(value, interval))
        for m, value, interval in zip(shared, apart, intervals, strict=True)
    )
    return _originality(base, other, samples), points


def distances_of(result: ScoreResult, counts: Sequence[int]) -> Array:
    """The distances of a result at some token counts: (repeats, M, samples)."""
    by_m = {point.m: point.distances for point in result.curve}
    return np.array([by_m[m] for m in counts]).transpose(1, 0, 2)


def _originality(base: ScoreResult, other: ScoreResult, samples: Sequence[Array]) -> Estimate:
    for result in (base, other):
        if result.originality.value is None:
            return Estimate.missing(f"an originality is missing: {result.originality.reason}")
    before, after = (
        measure.originality(sample, result.floor.value or 0.0, result.ceiling.value or 0.0)
        for result, sample in zip((base, other), samples, strict=True)
    )
    assert base.originality.value is not None and other.originality.value is not None
    (interval,) = measure.interval((after - before)[:, None])
    return estimate(other.originality.value - base.originality.value, interval)


def _holds(estimate: Estimate, value: float) -> bool:
    """Whether an interval has a value in it."""
    assert estimate.low is not None and estimate.high is not None
    return estimate.low <= value <= estimate.high


def sentence(
    base_name: str,
    base: ScoreResult,
    name: str,
    other: ScoreResult,
    originality: Estimate,
    clear: bool | None,
) -> str:
    """The difference in words that need no knowledge of the method, and say no more than the numbers."""
    if originality.value is None or clear is None:
        return f"The runs cannot be compared on this image: {originality.reason or 'there is no interval'}."
    needs = f"{name} {_needs(other.tokens_needed)}; {base_name} {_needs(base.tokens_needed)}."
    if not clear:
        return f"{needs} The difference in originality is within chance."
    if originality.value < 0:
        return (
            f"{needs} The image is more familiar to {name} than to {base_name}: "
            f"{name} has learned it, or images like it."
        )
    return f"{needs} The image is less familiar to {name} than to {base_name}."


def _needs(needed: TokensNeeded) -> str:
    match needed.kind:
        case "reached":
            return f"redraws this image with {tokens(needed.m or 1)}"
        case "not-reached":
            return f"needs more than {tokens(needed.maximum or 1)} for this image"
        case "undecided":
            return f"is too close to call at {tokens(needed.m or 1)}"
        case "not-measured":
            return "cannot show this image"
    return "has no threshold"


def _group_differences(
    results: Sequence[CompareResult], runs: Sequence[Run], replicates: int, random: np.random.Generator
) -> Iterator[GroupDifference]:
    """All images together, then each group where there are several."""
    named = sorted((result for result in results if result.group), key=lambda result: result.group or "")
    groups = [(name, list(members)) for name, members in groupby(named, key=lambda result: result.group)]
    parts: list[tuple[str | None, Sequence[CompareResult]]] = [(None, results)]
    parts += groups if len(groups) > 1 or len(named) < len(results) else []
    for name, members in parts:
        for place, run in enumerate(runs[1:]):
            values = [result.differences[place].originality.value for result in members]
            known = [value for value in values if value is not None]
            yield _group_difference(name, runs[0].name, run.name, known, replicates, random)


def _group_difference(
    group: str | None,
    base: str,
    run: str,
    values: Sequence[float],
    replicates: int,
    random: np.random.Generator,
) -> GroupDifference:
    if not values:
        missing = Estimate.missing("no image has an originality in both runs")
        return GroupDifference(
            group=group, run=run, base=base, images=0, lower=0, difference=missing, words=missing.reason or ""
        )
    mean = float(np.mean(values))
    span = resampled(lambda sample: float(np.mean(sample)), [values], replicates, random)
    p_value = sign_flip_p_value(values, random) if len(values) >= LEAST_FOR_A_TEST else None
    lower = sum(value < 0 for value in values)
    return GroupDifference(
        group=group,
        run=run,
        base=base,
        images=len(values),
        lower=lower,
        difference=estimate(mean, span),
        p_value=p_value,
        words=_group_words(base, run, len(values), lower, mean, p_value),
    )


def _group_words(base: str, run: str, images: int, lower: int, mean: float, p_value: float | None) -> str:
    counted = f"{lower} of {images} images are less original to {run} than to {base}"
    if p_value is None:
        return f"{counted}; with fewer than {LEAST_FOR_A_TEST} images there is no test."
    if p_value >= 1 - measure.LEVEL:
        return f"{counted}; on average the difference ({mean:+.2f}) is within chance (p = {p_value:.3g})."
    direction = "more" if mean < 0 else "less"
    return f"{counted}; on average they are {direction} familiar to {run} ({mean:+.2f}, p = {p_value:.3g})."


def _provenance(runs: Sequence[Run]) -> Provenance:
    """What made the comparison: the reports of the runs, whose settings are in them."""
    base = runs[0].report.provenance
    made = [hash_value(run.report.provenance.to_json()) for run in runs]
    return build_provenance(
        "compare", {"compare": {"runs": made}}, base.seed, metric=base.metric, seeds=base.seeds
    )
