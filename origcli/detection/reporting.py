"""What `origcli detect` does: many files, one report; and how right a detector is on a data set."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from origcli.detection.card import CARD
from origcli.detection.counting import multiset
from origcli.detection.drawing import AuditSheet, annotate
from origcli.detection.evaluation import LOWEST, Evaluation
from origcli.detection.image_files import Seen, detect_files
from origcli.detection.yolo import YoloDetector, load_yolo
from origcli.errors import UsageError
from origcli.images.inputs import Input
from origcli.reports.envelope import Estimate, Failure, ImageFacts, LeftOut, ModelFacts, Provenance, Status
from origcli.reports.provenance import build_provenance, sections_of
from origcli.reports.schema import (
    ConfusionMatrix,
    DetectedElement,
    DetectReport,
    DetectResult,
    DetectSummary,
)
from origcli.runtime import interrupts
from origcli.runtime.atomic import atomic_file, make_directory
from origcli.runtime.context import Runtime
from origcli.runtime.memory import slices
from origcli.scenes.dataset import read_dataset
from origcli.scenes.elements import ALL_ELEMENTS, Element
from origcli.scenes.records import scene_of
from origcli.settings import Settings
from origcli.weights.registry import DETECTOR, weights_directory


def detector_directory(name: str) -> Path:
    """Where a detector is: the bundled one, or one in its own directory, a run's or a pipeline's."""
    path = weights_directory(name)
    return path / DETECTOR if (path / DETECTOR / CARD).is_file() else path


def detect_images(
    inputs: Sequence[Input],
    name: str,
    settings: Settings,
    runtime: Runtime,
    *,
    annotated: Path | None = None,
    audit: Path | None = None,
    left_out: Sequence[LeftOut] = (),
) -> DetectReport:
    """Detects in files.

    Args:
        name: `shapes` or a detector's directory.
        annotated: directory for images with their boxes.
        audit: file for a sheet of detections by confidence.
        left_out: what the folders and archives of the images hold besides.

    Raises:
        ModelError: the detector is missing or damaged.
        StorageError: an image cannot be written; found before anything is detected.
    """
    for directory in (annotated, None if audit is None else audit.parent):
        if directory is not None:
            make_directory(directory)
    own = settings.detect
    # A sheet is there to judge the threshold by, so it has to show what lies below it, too.
    sheet = None if audit is None else AuditSheet(own.confidence)
    lowest = own.confidence if sheet is None else min(own.confidence, sheet.lowest)
    detector = load_yolo(detector_directory(name), runtime, own.model_copy(update={"confidence": lowest}))
    results: list[DetectResult] = []
    failures: list[Failure] = []
    with runtime.progress.task("detect", len(inputs)) as bar:
        for seen in detect_files(inputs, detector, own.batch_size, settings.runtime.threads):
            bar.advance()
            if not isinstance(seen, Seen):
                failures.append(Failure.of(seen.problem, seen.input.where))
                continue
            if sheet is not None:
                sheet.add(seen.image, seen.detections)
            result = _result(seen, own.confidence)
            results.append(result)
            if annotated is not None:
                counted = [d for d in seen.detections if d.confidence >= own.confidence]
                _save(annotate(seen.image, counted), annotated / f"{seen.input.name}.png")
    if sheet is not None and audit is not None:
        _save(sheet.draw(), audit)
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.counts)
    return DetectReport(
        status=_status(len(results), len(failures)),
        provenance=_provenance(name, detector, settings, runtime),
        results=tuple(results),
        errors=tuple(failures),
        summary=DetectSummary(images=len(results), detections=total.total(), counts=_in_order(total)),
        left_out=tuple(left_out),
    )


def evaluate_detector(paths: Sequence[str], name: str, settings: Settings, runtime: Runtime) -> DetectReport:
    """How right a detector is on a data set.

    Raises:
        UsageError: not exactly one data set is given.
        InputError: it is missing or damaged.
    """
    if len(paths) != 1:
        raise UsageError("--evaluate takes one data set directory")
    data = read_dataset(paths[0])
    own = settings.detect
    detector = load_yolo(detector_directory(name), runtime, own.model_copy(update={"confidence": LOWEST}))
    evaluation = Evaluation(own.confidence)
    with runtime.progress.task("evaluate", len(data)) as bar:
        for part in slices(len(data), own.batch_size):
            interrupts.check()
            pictures = [Image.fromarray(data.image(i)) for i in range(part.start, part.stop)]
            seen = detector.detect(pictures)
            for record, detections in zip(data.records[part], seen, strict=True):
                evaluation.add(detections, scene_of(record), data.resolution)
            bar.advance(len(pictures))
    provenance = _provenance(name, detector, settings, runtime)
    return DetectReport(
        status=Status.complete,
        provenance=provenance.model_copy(update={"dataset_hash": data.hash}),
        results=(),
        summary=DetectSummary(
            images=len(data),
            detections=evaluation.counted,
            counts={},
            metrics={metric: Estimate.of(value) for metric, value in evaluation.results().items()},
            confusion=confusion_matrix(evaluation),
        ),
    )


def confusion_matrix(evaluation: Evaluation) -> ConfusionMatrix:
    """The report's confusion matrix: rows are true classes, columns found ones."""
    return ConfusionMatrix(
        classes=(*(element.phrase for element in ALL_ELEMENTS), "background"),
        counts=tuple(tuple(int(v) for v in row) for row in evaluation.confusion.T),
    )


def count_rows(report: DetectReport) -> list[dict[str, Any]]:
    """One row an image: how many elements, and which as "2 × big red full circle, …"."""
    rows: list[dict[str, Any]] = [
        {
            "path": result.image.path,
            "total": sum(result.counts.values()),
            "elements": ", ".join(f"{number} × {phrase}" for phrase, number in result.counts.items()),
            "counts": result.counts,
        }
        for result in report.results
    ]
    return [*rows, *({"path": f.path, "error": f"{f.code}: {f.message}"} for f in report.errors)]


def metric_rows(report: DetectReport) -> list[dict[str, Any]]:
    """One row a figure."""
    metrics = report.summary.metrics if report.summary else {}
    return [{"metric": name, "value": estimate.value} for name, estimate in metrics.items()]


def _result(seen: Seen, confidence: float) -> DetectResult:
    counted = [d for d in seen.detections if d.confidence >= confidence]
    return DetectResult(
        id=seen.input.name,
        image=ImageFacts(**seen.facts),
        detections=tuple(
            DetectedElement(
                element=d.element.phrase,
                confidence=round(d.confidence, 6),
                box=tuple(round(side, 3) for side in d.box),
            )
            for d in counted
        ),
        counts=_in_order(Counter({e.phrase: n for e, n in multiset(counted).items()})),
    )


def _in_order(counts: Counter[str]) -> dict[str, int]:
    """Counts in the order of elements."""
    return {phrase: counts[phrase] for phrase in sorted(counts, key=Element.parse)}


def _status(good: int, bad: int) -> Status:
    if not bad:
        return Status.complete
    return Status.partial if good else Status.failed


def _save(image: Image.Image, path: Path) -> None:
    with atomic_file(path) as file:
        image.save(file, "PNG")


def _provenance(name: str, detector: YoloDetector, settings: Settings, runtime: Runtime) -> Provenance:
    return build_provenance(
        "detect",
        sections_of(settings, ("detect",)),
        runtime.seed,
        detector.dtype,
        device=str(runtime.device),
        detector=ModelFacts(name=name, weights_hash=detector.weights_hash),
    )
