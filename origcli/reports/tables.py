"""Reports as rows: what the CSV files hold, and what the commands print as a table.

A column is never renamed or moved within a schema's version; new ones come at the end.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from origcli.reports.compare import CompareResult
from origcli.reports.envelope import Estimate, Failure, Report
from origcli.reports.schema import (
    CalibrateResult,
    DetectResult,
    GeneralizeReport,
    GeneralizeResult,
    InvertResult,
    LevelSummary,
    SynthResult,
    TrainResult,
)
from origcli.reports.score import CurvePoint, ScoreResult
from origcli.reports.studies import FixedLocationResult, PopularityResult, RarityResult

Row = dict[str, Any]


def spread(name: str, estimate: Estimate | None) -> Row:
    """The three cells of an estimate: value, low, high."""
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def score_rows(result: ScoreResult) -> Iterator[Row]:
    """One row per token count; a single one without `m` where nothing was inverted."""
    test, place = result.in_distribution, result.percentile
    whole = {
        "path": result.image.path,
        "id": result.id,
        "group": result.group,
        "verdict": str(result.verdict.kind),
        "tokens_needed": result.tokens_needed.text,
        **spread("originality", result.originality),
        "distance_0": result.distance_0.value,
        "l_det_0": result.l_det_0.value,
        "floor": result.floor.value,
        "ceiling": result.ceiling.value,
        "threshold": result.threshold.value,
        "inside_domain": result.domain_check.inside,
        "psnr": result.domain_check.psnr.value,
        "in_distribution": test.value.value if test else None,
        "percentile": place.value.value if place else None,
        "sha256": result.image.sha256,
        "error": None,
    }
    points: tuple[CurvePoint | None, ...] = result.curve or (None,)
    for point in points:
        yield {
            **whole,
            "m": point.m if point else None,
            **spread("distance", point.distance if point else None),
            "share_passing": point.share_passing if point else None,
            "l_det": point.l_det.value if point else None,
        }


def invert_rows(result: InvertResult) -> Iterator[Row]:
    """One row per token count."""
    for tokens in result.tokens:
        yield {
            "path": result.image.path,
            "id": result.id,
            "m": tokens.m,
            "placeholder": tokens.placeholder,
            "file": tokens.file,
            "steps": tokens.steps,
            "stop_reason": tokens.stop_reason,
            "l_det": tokens.l_det.value,
            "l_det_0": result.l_det_0.value,
        }


def synth_rows(result: SynthResult) -> Iterator[Row]:
    """One row per data set."""
    yield {name: getattr(result, name) for name in ("directory", "count", "resolution", "hash")}


def detect_rows(result: DetectResult) -> Iterator[Row]:
    """One row per detection; a single one without `element` for a picture where nothing was found."""
    for found in result.detections or (None,):
        x0, y0, x1, y1 = found.box if found else (None,) * 4
        yield {
            "path": result.image.path,
            "id": result.id,
            "element": found.element if found else None,
            "confidence": found.confidence if found else None,
            **{"x0": x0, "y0": y0, "x1": x1, "y1": y1},
            "f1": result.f1.value if result.f1 else None,
        }


def train_rows(result: TrainResult) -> Iterator[Row]:
    """One row per held-out metric."""
    for name, estimate in result.metrics.items():
        yield {
            "stage": result.stage,
            "metric": name,
            **spread("value", estimate),
            "steps": result.steps,
            "samples": result.samples,
            "parameters": result.parameters,
            "weights_hash": result.weights_hash,
        }


def calibrate_rows(result: CalibrateResult) -> Iterator[Row]:
    """One row per model and metric."""
    yield {
        "model": result.model,
        "metric": result.metric,
        "metric_version": result.metric_version,
        **spread("threshold", result.threshold),
        **spread("ceiling", result.ceiling),
        **spread("psnr_limit", result.psnr_limit),
    }


def generalize_rows(result: GeneralizeResult) -> Iterator[Row]:
    """One row per experiment and condition."""
    yield {
        "experiment": result.experiment,
        "level": result.level,
        "held_out": result.held_out,
        "condition": result.condition,
        "images": result.images,
        "detections": result.detections,
        "held_out_detections": result.held_out_detections,
        **spread("frequency", result.frequency),
        **spread("lift", result.lift),
        **spread("confidence", result.confidence),
        "hash": result.hash,
    }


def level_row(average: LevelSummary) -> Row:
    """The average over the symmetric experiments of a level."""
    return {
        "experiment": f"mean of {average.experiments}",
        "level": average.level,
        "condition": average.condition,
        **spread("frequency", average.frequency),
        **spread("lift", average.lift),
        **spread("confidence", average.confidence),
    }


def rarity_rows(result: RarityResult) -> Iterator[Row]:
    """One row per category and token count."""
    for point in result.curve:
        yield {
            "category": result.category,
            "images": result.images,
            "out_of_domain": result.out_of_domain,
            "m": point.m,
            **spread("distance", point.distance),
            "l_det": point.l_det.value,
            **spread("originality", result.originality),
            "tokens_needed": "; ".join(f"{text}: {n}" for text, n in result.tokens_needed.items()),
        }


def fixed_location_rows(result: FixedLocationResult) -> Iterator[Row]:
    """One row per query."""
    yield {
        **{name: getattr(result, name) for name in ("id", "caption", "drawings", "elements", "matched")},
        **spread("distance", result.distance),
        "chance": result.chance.value,
    }


def popularity_rows(result: PopularityResult) -> Iterator[Row]:
    """One row per group."""
    yield {
        **{name: getattr(result, name) for name in ("group", "images", "out_of_domain")},
        **spread("distance", result.distance),
    }


def compare_rows(result: CompareResult) -> Iterator[Row]:
    """One row per run; the difference from the first run stands in the rows of the others."""
    differences = {one.run: one.originality for one in result.differences}
    for score in result.scores:
        yield {
            "path": result.image.path,
            "id": result.id,
            "group": result.group,
            "run": score.run,
            "verdict": str(score.verdict),
            "tokens_needed": score.tokens_needed.text,
            **spread("originality", score.originality),
            **spread("difference", differences.get(score.run)),
            **{f"distance_{point.m}": point.distance.value for point in score.curve},
            "sha256": result.image.sha256,
        }


_ROWS: dict[type, Callable[[Any], Iterator[Row]]] = {
    ScoreResult: score_rows,
    InvertResult: invert_rows,
    SynthResult: synth_rows,
    DetectResult: detect_rows,
    TrainResult: train_rows,
    CalibrateResult: calibrate_rows,
    CompareResult: compare_rows,
    GeneralizeResult: generalize_rows,
    RarityResult: rarity_rows,
    FixedLocationResult: fixed_location_rows,
    PopularityResult: popularity_rows,
}

_INTERVAL = ("", "_low", "_high")
COLUMNS: dict[str, tuple[str, ...]] = {
    "score": (
        *("path", "id", "group", "m"),
        *(f"distance{end}" for end in _INTERVAL),
        *("share_passing", "l_det", "tokens_needed"),
        *(f"originality{end}" for end in _INTERVAL),
        *("verdict", "floor", "ceiling", "threshold", "distance_0", "l_det_0", "inside_domain", "psnr"),
        *("in_distribution", "percentile", "sha256", "error"),
    ),
    "invert": (
        *("path", "id", "m", "placeholder", "file", "steps", "stop_reason", "l_det", "l_det_0"),
        "error",
    ),
    "synth": ("directory", "count", "resolution", "hash"),
    "detect": ("path", "id", "element", "confidence", "x0", "y0", "x1", "y1", "f1", "error"),
    "train": (
        *("stage", "metric", "value", "value_low", "value_high", "steps", "samples", "parameters"),
        "weights_hash",
    ),
    "calibrate": (
        *("model", "metric", "metric_version"),
        *(f"{name}{end}" for name in ("threshold", "ceiling", "psnr_limit") for end in _INTERVAL),
    ),
    "compare": (
        *("path", "id", "group", "run", "verdict", "tokens_needed"),
        *(f"{name}{end}" for name in ("originality", "difference") for end in _INTERVAL),
        *(f"distance_{m}" for m in range(1, 33)),
        "sha256",
    ),
    "generalize": (
        *("experiment", "level", "held_out", "condition", "images", "detections", "held_out_detections"),
        *(f"{name}{end}" for name in ("frequency", "lift", "confidence") for end in _INTERVAL),
        *("hash", "error"),
    ),
    "rarity": (
        *("category", "images", "out_of_domain", "m", "distance", "distance_low", "distance_high", "l_det"),
        *("originality", "originality_low", "originality_high", "tokens_needed", "path", "error"),
    ),
    "fixed-location": (
        *("id", "caption", "drawings", "elements", "matched", "distance", "distance_low", "distance_high"),
        *("chance", "path", "error"),
    ),
    "popularity": (
        *("group", "images", "out_of_domain", "distance", "distance_low", "distance_high", "path", "error"),
    ),
}


def columns(report: Report[Any]) -> tuple[str, ...]:
    """The columns of a report's rows, in order."""
    name = report.schema_id.split("/")[1]
    return COLUMNS["train" if name.startswith("train-") else name]


def result_rows(result: Any) -> Iterator[Row]:
    """The rows of one result of any report."""
    return _ROWS[type(result)](result)


def failure_row(failure: Failure, column: str = "path") -> Row:
    """The row of an input, or of what `column` names, that came to nothing."""
    return {column: failure.path, "error": f"{failure.code}: {failure.message}"}


def last_rows(report: Report[Any]) -> Iterator[Row]:
    """The rows after those of the results: averages, then failures."""
    if not isinstance(report, GeneralizeReport):
        yield from map(failure_row, report.errors)
        return
    if report.summary is not None:
        yield from map(level_row, report.summary.levels)
    for failure in report.errors:
        yield failure_row(failure, "experiment")


def report_rows(report: Report[Any], results: Iterable[Any] | None = None) -> Iterator[Row]:
    """All rows: those of the results (the report's own unless others are given), then the last ones."""
    for result in report.results if results is None else results:
        yield from result_rows(result)
    yield from last_rows(report)
