"""The reports of every command, by name, and their published JSON Schemas.

`SCHEMAS` names them; a report says which one it is in its `schema` field, as `origcli/NAME/VERSION`.
A field is never renamed or removed within a version.
"""

import json
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from origcli.errors import UsageError
from origcli.reports.compare import CompareReport, CompareResult
from origcli.reports.envelope import (
    Estimate,
    Failure,
    ImageFacts,
    ModelFacts,
    Name,
    Provenance,
    Record,
    Report,
    ReportOfImages,
    Result,
    Row,
    Status,
    with_ends,
)
from origcli.reports.score import (
    CurvePoint,
    DomainCheck,
    GroupComparison,
    GroupPoint,
    GroupSummary,
    InDistribution,
    Landmarks,
    Percentile,
    PictureFiles,
    RankCorrelation,
    ScoreReport,
    ScoreResult,
    ScoreSummary,
    Threshold,
    TokensNeeded,
    Verdict,
    VerdictKind,
)
from origcli.reports.studies import FixedLocationReport, PopularityReport, RarityReport

TRAIN_COLUMNS = (
    *("stage", "metric", *with_ends("value"), "steps", "samples", "parameters"),
    "weights_hash",
)


class LossPoint(Record):
    """One reading of a loss."""

    step: int = Field(ge=0)
    values: dict[str, float] = Field(description="finite readings by name, e.g. loss, l_det, psnr")


class InvertedTokens(Record):
    """The tokens learned for one image at one m."""

    m: int = Field(ge=1)
    placeholder: str
    file: str = Field(description="safetensors with one key, relative to the report")
    sha256: str | None = None
    steps: int = Field(ge=0)
    stop_reason: str
    l_det: Estimate = Field(description="deterministic denoising loss of the learned tokens")
    history: tuple[LossPoint, ...] = Field(
        default=(), description="readings while learning, in the order of steps"
    )


class InvertResult(Result):
    """One image, inverted at several token counts."""

    id: Name
    image: ImageFacts
    tokens: tuple[InvertedTokens, ...]
    l_det_0: Estimate = Field(description="denoising loss without learned tokens")
    pictures: tuple[str, ...] = ()

    def rows(self) -> Iterator[Row]:
        """One row per token count."""
        for tokens in self.tokens:
            yield {
                "path": self.image.path,
                "id": self.id,
                "m": tokens.m,
                "placeholder": tokens.placeholder,
                "file": tokens.file,
                "steps": tokens.steps,
                "stop_reason": tokens.stop_reason,
                "l_det": tokens.l_det.value,
                "l_det_0": self.l_det_0.value,
            }


class InvertReport(ReportOfImages[InvertResult]):
    """`origcli invert`."""

    columns: ClassVar[tuple[str, ...]] = (
        *("path", "id", "m", "placeholder", "file", "steps", "stop_reason", "l_det", "l_det_0"),
        "error",
    )
    schema_id: Literal["origcli/invert/1"] = Field(default="origcli/invert/1", alias="schema")


class SynthResult(Result):
    """A data set of shapes."""

    directory: str
    hash: str = Field(description="of the recipe; equal recipes make equal bytes")
    count: int = Field(ge=0)
    resolution: int = Field(ge=1)
    recipe: dict[str, JsonValue]
    categories: dict[str, int] = Field(default_factory=dict, description="images by category")
    elements: dict[str, int] = Field(default_factory=dict, description="elements by phrase")
    shards: tuple[str, ...] = ()

    def rows(self) -> Iterator[Row]:
        """One row per data set."""
        yield {name: getattr(self, name) for name in ("directory", "count", "resolution", "hash")}


class SynthReport(Report[SynthResult]):
    """`origcli synth`."""

    columns: ClassVar[tuple[str, ...]] = ("directory", "count", "resolution", "hash")
    schema_id: Literal["origcli/synth/1"] = Field(default="origcli/synth/1", alias="schema")


class DetectedElement(Record):
    """One detection."""

    element: str
    confidence: float = Field(ge=0, le=1)
    box: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1 in pixels")


class DetectResult(Result):
    """What is in one image."""

    id: Name
    image: ImageFacts
    detections: tuple[DetectedElement, ...]
    counts: dict[str, int] = Field(description="detections by element")
    f1: Estimate | None = Field(
        default=None, description="compared with the image's labels, where it has them"
    )

    def rows(self) -> Iterator[Row]:
        """One row per detection; a single one without `element` for an image where nothing was found."""
        for detection in self.detections or (None,):
            x0, y0, x1, y1 = detection.box if detection else (None,) * 4
            yield {
                "path": self.image.path,
                "id": self.id,
                "element": detection.element if detection else None,
                "confidence": detection.confidence if detection else None,
                **{"x0": x0, "y0": y0, "x1": x1, "y1": y1},
                "f1": self.f1.value if self.f1 else None,
            }


class ConfusionMatrix(Record):
    """counts[i][j]: elements of true class i found as class j; the last class is the background."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class DetectSummary(Record):
    """All images together."""

    images: int = Field(ge=0)
    detections: int = Field(ge=0)
    counts: dict[str, int]
    target: str | None = Field(default=None, description="the element asked about")
    frequency: Estimate | None = Field(default=None, description="detections of the target / all detections")
    metrics: dict[str, Estimate] = Field(default_factory=dict, description="against labels: map50 …")
    confusion: ConfusionMatrix | None = None


class DetectReport(ReportOfImages[DetectResult]):
    """`origcli detect`."""

    columns: ClassVar[tuple[str, ...]] = (
        *("path", "id", "element", "confidence", "x0", "y0", "x1", "y1", "f1", "error"),
    )
    schema_id: Literal["origcli/detect/1"] = Field(default="origcli/detect/1", alias="schema")
    summary: DetectSummary | None = None


class TrainResult(Result):
    """One stage of training, from data to weights."""

    stage: Literal["vae", "unet", "transformer", "text-encoder", "detector"]
    directory: str = Field(description="the trained model, relative to the report")
    dataset_hash: str
    weights_hash: str
    parameters: int = Field(ge=0)
    steps: int = Field(ge=0)
    samples: int = Field(ge=0)
    epochs: float = Field(ge=0)
    metrics: dict[str, Estimate] = Field(description="on held-out images")
    history: tuple[LossPoint, ...] = Field(
        default=(), description="readings while training, in the order of steps"
    )
    confusion: ConfusionMatrix | None = None
    figures: tuple[str, ...] = ()

    def rows(self) -> Iterator[Row]:
        """One row per held-out metric."""
        for name, estimate in self.metrics.items():
            yield {
                "stage": self.stage,
                "metric": name,
                **estimate.cells("value"),
                "steps": self.steps,
                "samples": self.samples,
                "parameters": self.parameters,
                "weights_hash": self.weights_hash,
            }


class TrainVaeReport(Report[TrainResult]):
    """`origcli train-vae`."""

    columns: ClassVar[tuple[str, ...]] = TRAIN_COLUMNS
    schema_id: Literal["origcli/train-vae/1"] = Field(default="origcli/train-vae/1", alias="schema")


class TrainUnetReport(Report[TrainResult]):
    """`origcli train-unet`, and the text encoder that it may train first."""

    columns: ClassVar[tuple[str, ...]] = TRAIN_COLUMNS
    schema_id: Literal["origcli/train-unet/1"] = Field(default="origcli/train-unet/1", alias="schema")


class TrainTransformerReport(Report[TrainResult]):
    """`origcli train-transformer`: the transformer and the text encoders that learn with it."""

    columns: ClassVar[tuple[str, ...]] = TRAIN_COLUMNS
    schema_id: Literal["origcli/train-transformer/1"] = Field(
        default="origcli/train-transformer/1", alias="schema"
    )


class TrainDetectorReport(Report[TrainResult]):
    """`origcli train-detector`."""

    columns: ClassVar[tuple[str, ...]] = TRAIN_COLUMNS
    schema_id: Literal["origcli/train-detector/1"] = Field(default="origcli/train-detector/1", alias="schema")


_OF_OWN_SAMPLES = ("captions", "samples", "control_images", "control_within")


class CalibrateResult(Result):
    """The constants of one model and metric: what the registry needs."""

    model: str
    metric: str
    metric_version: str
    threshold: Estimate
    threshold_how: str
    ceiling: Estimate
    ceiling_images: int = Field(ge=0)
    psnr_limit: Estimate
    psnr_images: int = Field(ge=0)
    draw_settings: dict[str, JsonValue] = Field(description="sampling settings that the constants hold for")
    captions: int | None = Field(
        default=None, description="captions of the model's own samples; null: images"
    )
    samples: int | None = Field(default=None, description="own samples of each caption")
    control_images: int | None = Field(
        default=None, ge=0, description="positive control: samples of the model's own that were learned"
    )
    control_within: int | None = Field(
        default=None, ge=0, description="of these, those that one token brought back within the threshold"
    )

    def rows(self) -> Iterator[Row]:
        """One row per model and metric."""
        yield {
            "model": self.model,
            "metric": self.metric,
            "metric_version": self.metric_version,
            **self.threshold.cells("threshold"),
            **self.ceiling.cells("ceiling"),
            **self.psnr_limit.cells("psnr_limit"),
            **{name: getattr(self, name) for name in _OF_OWN_SAMPLES},
        }

    def as_threshold(self) -> Threshold:
        """The threshold for verdicts, with its positive control."""
        return Threshold(
            value=self.threshold.value,
            source="registry" if self.captions is None else "samples",
            how=self.threshold_how,
            control_images=self.control_images,
            control_within=self.control_within,
        )


class CalibrateReport(ReportOfImages[CalibrateResult]):
    """`origcli calibrate`."""

    columns: ClassVar[tuple[str, ...]] = (
        *("model", "metric", "metric_version"),
        *with_ends("threshold", "ceiling", "psnr_limit"),
        *_OF_OWN_SAMPLES,
    )
    schema_id: Literal["origcli/calibrate/1"] = Field(default="origcli/calibrate/1", alias="schema")


class GeneralizeResult(Result):
    """One experiment under one condition (supplement 2.2)."""

    experiment: str
    hash: str
    level: int = Field(ge=1, description="diversity: number of elements, the held-out one included")
    held_out: str
    spanning: tuple[str, ...] = Field(description="the elements trained on")
    condition: Literal["empty", "prompted"]
    prompt: str
    images: int = Field(ge=0)
    detections: int = Field(ge=0)
    held_out_detections: int = Field(ge=0)
    frequency: Estimate = Field(description="held-out detections / all detections")
    lift: Estimate = Field(description="frequency × level: 1 is chance")
    confidence: Estimate = Field(description="mean detector confidence of held-out elements")
    sheet: str | None = Field(default=None, description="samples, relative to the report")

    def rows(self) -> Iterator[Row]:
        """One row per experiment and condition."""
        yield {
            "experiment": self.experiment,
            "level": self.level,
            "held_out": self.held_out,
            "condition": self.condition,
            "images": self.images,
            "detections": self.detections,
            "held_out_detections": self.held_out_detections,
            **self.frequency.cells("frequency"),
            **self.lift.cells("lift"),
            **self.confidence.cells("confidence"),
            "hash": self.hash,
        }


class LevelSummary(Record):
    """Experiments of one level and condition, averaged."""

    level: int = Field(ge=1)
    condition: Literal["empty", "prompted"]
    experiments: int = Field(ge=0, description="that are finished")
    averaged: dict[str, int] = Field(
        default={}, description="by quantity: the experiments that have a value, which its average is over"
    )
    frequency: Estimate
    lift: Estimate
    confidence: Estimate

    def row(self) -> Row:
        """The average over the symmetric experiments of a level."""
        return {
            "experiment": f"mean of {self.experiments}",
            "level": self.level,
            "condition": self.condition,
            **self.frequency.cells("frequency"),
            **self.lift.cells("lift"),
            **self.confidence.cells("confidence"),
        }


class Trend(Record):
    """Does a quantity rise with diversity?"""

    condition: Literal["empty", "prompted"]
    quantity: Literal["frequency", "lift", "confidence"]
    kendall_tau: Estimate
    p_value: float | None = Field(default=None, ge=0, le=1)
    test: str


class GeneralizeSummary(Record):
    """The curves and their trend."""

    levels: tuple[LevelSummary, ...]
    trends: tuple[Trend, ...] = ()


class GeneralizeReport(Report[GeneralizeResult]):
    """`origcli generalize`."""

    columns: ClassVar[tuple[str, ...]] = (
        *("experiment", "level", "held_out", "condition", "images", "detections", "held_out_detections"),
        *with_ends("frequency", "lift", "confidence"),
        *("hash", "error"),
    )
    schema_id: Literal["origcli/generalize/1"] = Field(default="origcli/generalize/1", alias="schema")
    summary: GeneralizeSummary | None = None
    figures: tuple[str, ...] = ()

    def last_rows(self) -> Iterator[Row]:
        """The averages of the levels, then the experiments that failed."""
        for average in self.summary.levels if self.summary else ():
            yield average.row()
        for failure in self.errors:
            yield failure.row("experiment")


SCHEMAS: dict[str, type[Report[Any]]] = {
    "score": ScoreReport,
    "invert": InvertReport,
    "synth": SynthReport,
    "detect": DetectReport,
    "train-vae": TrainVaeReport,
    "train-unet": TrainUnetReport,
    "train-transformer": TrainTransformerReport,
    "train-detector": TrainDetectorReport,
    "calibrate": CalibrateReport,
    "compare": CompareReport,
    "generalize": GeneralizeReport,
    "rarity": RarityReport,
    "fixed-location": FixedLocationReport,
    "popularity": PopularityReport,
}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a command's report, made from its model."""
    schema = _report_type(name).model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text(name: str) -> str:
    """The JSON Schema as the package publishes it."""
    return json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"


def _report_type(name: str) -> type[Report[Any]]:
    if name not in SCHEMAS:
        raise UsageError(f"unknown report {name!r}", f"choose from {', '.join(SCHEMAS)}")
    return SCHEMAS[name]


__all__ = [
    "SCHEMAS",
    "CalibrateReport",
    "CalibrateResult",
    "CompareReport",
    "CompareResult",
    "ConfusionMatrix",
    "CurvePoint",
    "DetectReport",
    "DetectResult",
    "DetectSummary",
    "DetectedElement",
    "DomainCheck",
    "Estimate",
    "Failure",
    "FixedLocationReport",
    "GeneralizeReport",
    "GeneralizeResult",
    "GeneralizeSummary",
    "GroupComparison",
    "GroupPoint",
    "GroupSummary",
    "ImageFacts",
    "InDistribution",
    "InvertReport",
    "InvertResult",
    "InvertedTokens",
    "Landmarks",
    "LevelSummary",
    "LossPoint",
    "ModelFacts",
    "Name",
    "Percentile",
    "PictureFiles",
    "PopularityReport",
    "Provenance",
    "RankCorrelation",
    "RarityReport",
    "Record",
    "Report",
    "ScoreReport",
    "ScoreResult",
    "ScoreSummary",
    "Status",
    "SynthReport",
    "SynthResult",
    "Threshold",
    "TokensNeeded",
    "TrainDetectorReport",
    "TrainResult",
    "TrainTransformerReport",
    "TrainUnetReport",
    "TrainVaeReport",
    "Trend",
    "Verdict",
    "VerdictKind",
    "json_schema",
    "schema_text",
]
