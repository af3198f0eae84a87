"""Which metric and detector go with a model where the user names none; what a metric says of its model."""

from pathlib import Path

from origcli.perception.metrics import AUTO, default_metric, sees_shapes_only
from origcli.reports.envelope import Provenance
from origcli.settings import Settings
from origcli.weights.registry import ModelEntry


def chosen_detector(entry: ModelEntry, settings: Settings) -> Path | None:
    """The detector that the settings name, else the model's own."""
    if settings.score.detector is None:
        return entry.detector
    # With it come torchvision's operators and two seconds, which the model's own detector can do without.
    from origcli.detection.reporting import detector_directory

    return detector_directory(settings.score.detector)


def chosen_metric(entry: ModelEntry | None, detector: Path | None, settings: Settings) -> str:
    """The metric that the settings name, else the one that is kept with the model, else the one that fits.

    Args:
        entry: `None` for a model that is not on this disk.
        detector: the chosen one. Where there is one, what is kept with the model does not count.
    """
    if settings.score.metric != AUTO:
        return settings.score.metric
    if entry is not None and entry.metric is not None and detector is None:
        return entry.metric
    return default_metric(has_detector=detector is not None)


def knows_shapes_only(made_by: Provenance) -> bool:
    """Whether the model of a report knows nothing but the shapes world: so its metric says."""
    return made_by.metric is not None and sees_shapes_only(made_by.metric.name)
