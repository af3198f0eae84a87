"""What is opened once for all images: a model and the metric that its samples are compared with."""

from dataclasses import dataclass, field

from origcli.models.pipeline import DiffusionModel
from origcli.perception.distance import Distance
from origcli.perception.editability import TextSimilarity
from origcli.weights.registry import ModelEntry


@dataclass(frozen=True)
class Models:
    """A model and the metric that its samples are compared with.

    Attributes:
        entry: what is known about the model.
        notes: what has to be told with the results, e.g. what `auto` chose.
        similarity: what the editability test measures with, once it was opened.
    """

    entry: ModelEntry
    model: DiffusionModel
    metric: Distance
    notes: tuple[str, ...]
    similarity: list[TextSimilarity] = field(default_factory=list)
