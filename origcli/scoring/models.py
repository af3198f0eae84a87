"""What is opened once for all images: a model and the metric that its samples are compared with."""

from dataclasses import dataclass

from origcli.models.pipeline import DiffusionModel
from origcli.perception.distance import Distance
from origcli.weights.registry import ModelEntry


@dataclass(frozen=True)
class Models:
    """A model and the metric that its samples are compared with.

    Attributes:
        entry: what is known about the model.
        notes: what has to be told with the results, e.g. what `auto` chose.
    """

    entry: ModelEntry
    model: DiffusionModel
    metric: Distance
    notes: tuple[str, ...]
