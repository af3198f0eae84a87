"""Which metric and which detector go with a model, where the user names none."""

from pathlib import Path

from origcli.settings import Settings
from origcli.weights.registry import ModelEntry


def chosen_detector(entry: ModelEntry, settings: Settings) -> Path | None:
    """The detector that the settings name, else the model's own."""
    if settings.score.detector is None:
        return entry.detector
    # With it come torchvision's operators and two seconds, which the model's own detector can do without.
    from origcli.detection.survey import detector_directory

    return detector_directory(settings.score.detector)


def chosen_metric(entry: ModelEntry, detector: Path | None, settings: Settings) -> str:
    """The metric that the settings name, else the model's own; `elements` where there is a detector."""
    if settings.score.metric != "auto":
        return settings.score.metric
    return entry.metric if detector is None else "elements"
