"""The images of the generalization experiments: what a report shows of its samples (supplement 4)."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from origcli.detection.detector import Detection
from origcli.reports.figures import frequency_curves
from origcli.reports.schema import GeneralizeReport
from origcli.reports.sheets import block_sheet, sheet
from origcli.runtime.atomic import make_directory, write_bytes
from origcli.studies.generalization.diversity import Experiment
from origcli.studies.generalization.stages import CONDITIONS, Condition, Found, read_drawings

FIGURES = "figures"
APART = 30  # figure 4: from this level on, each condition has a block of its own
_SHEET, _COLUMNS = 64, 16  # samples on an experiment's own sheet
_SAMPLES = 8  # samples a model and condition in figure 5
_CROPS = 6  # held-out elements a block in figure 4
_MARGIN = 0.15  # of a crop's side, around the element

Crops = dict[Condition, list[Image.Image]]


@dataclass(frozen=True)
class ShownImages:
    """What is shown of one experiment.

    Attributes:
        samples: its first samples, by condition.
        crops: the first samples of the held-out element, cut out, by condition.
    """

    experiment: Experiment
    samples: Crops
    crops: Crops


def collect_images(
    experiment: Experiment, directory: Path, detections: Found, threshold: float
) -> ShownImages:
    """Takes the first samples and held-out elements, and writes the experiment's own sheets.

    Args:
        directory: the experiment's.
        threshold: the confidence from which detections count.
    """
    samples: Crops = {}
    crops: Crops = {}
    for condition in CONDITIONS:
        first = read_drawings(directory, condition, range(min(_SHEET, len(detections[condition]))))
        write_bytes(directory / f"{condition}.png", _png(sheet(first, columns=_COLUMNS)))
        samples[condition] = first[:_SAMPLES]
        places = [
            (number, detection)
            for number, seen in enumerate(detections[condition])
            for detection in seen
            if detection.element == experiment.held_out and detection.confidence >= threshold
        ][:_CROPS]
        pictures = read_drawings(directory, condition, [number for number, _ in places])
        crops[condition] = [
            crop(picture, detection) for picture, (_, detection) in zip(pictures, places, strict=True)
        ]
    return ShownImages(experiment, samples, crops)


def crop(picture: Image.Image, detection: Detection) -> Image.Image:
    """A square around a detected element, white where it leaves the image."""
    x0, y0, x1, y1 = detection.box
    side = max(x1 - x0, y1 - y0) * (1 + 2 * _MARGIN)
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    edge = max(1, round(side))
    canvas = Image.new("RGB", (edge, edge), "white")
    canvas.paste(picture, (-round(left), -round(top)))
    return canvas


def write_figures(
    directory: Path, report: GeneralizeReport, shown_images: Sequence[ShownImages]
) -> tuple[str, ...]:
    """Writes the curves and the sheets.

    Returns:
        Their names, relative to the report.
    """
    make_directory(directory / FIGURES)
    names = []
    for name, data in _figures(report, shown_images):
        write_bytes(directory / FIGURES / name, data)
        names.append(f"{FIGURES}/{name}")
    return tuple(names)


def _figures(report: GeneralizeReport, shown_images: Sequence[ShownImages]) -> Iterator[tuple[str, bytes]]:
    if report.summary is not None and report.results:
        for form in ("png", "pdf"):
            yield f"frequency.{form}", frequency_curves(report.summary, "frequency", form)
            yield f"lift.{form}", frequency_curves(report.summary, "lift", form)
            if any(level.confidence.value is not None for level in report.summary.levels):
                yield f"confidence.{form}", frequency_curves(report.summary, "confidence", form)
    if shown_images:
        yield "held-out.png", _png(held_out_sheet(shown_images))
        yield "samples.png", _png(samples_sheet(shown_images))


def held_out_sheet(shown_images: Sequence[ShownImages]) -> Image.Image:
    """Held-out elements that were drawn, one class a row, by diversity (figure 4).

    From 30 elements on, those of the element's prompt stand left and those of the empty prompt right.
    """
    rows = list(dict.fromkeys(shown.experiment.held_out.phrase for shown in shown_images))
    blocks: list[str] = []
    pictures: dict[tuple[str, str], list[Image.Image]] = {}
    for shown in shown_images:
        level, row = shown.experiment.level, shown.experiment.held_out.phrase
        for condition in reversed(CONDITIONS):
            block = f"{level} {condition}" if level >= APART else f"{level} elements"
            if block not in blocks:
                blocks.append(block)
            pictures.setdefault((row, block), []).extend(shown.crops[condition])
    return block_sheet(rows, blocks, pictures, columns=_CROPS)


def samples_sheet(shown_images: Sequence[ShownImages]) -> Image.Image:
    """Samples of each model: the empty prompt left, the element's prompt right (figure 5)."""
    headings: dict[Condition, str] = {"empty": "empty prompt", "prompted": "prompt of the element"}
    pictures = {
        (f"{shown.experiment.level}: no {shown.experiment.held_out.phrase}", headings[condition]): images
        for shown in shown_images
        for condition, images in shown.samples.items()
    }
    rows = list(dict.fromkeys(row for row, _ in pictures))
    return block_sheet(rows, list(headings.values()), pictures, columns=_SAMPLES)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
