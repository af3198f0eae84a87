"""What a model draws unasked: the ceiling of the scale, and the samples without learned tokens.

Both belong to the model and the sampling settings, not to any image, so they are kept in the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from origcli.generation.sampling import draw_prompts
from origcli.models.pipeline import DiffusionModel
from origcli.perception.distance import Distance
from origcli.reports.saved_images import encoded
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import package_versions
from origcli.scoring.measure import mean_over_pairs
from origcli.scoring.store import Entry, Store, content_key, decoded
from origcli.settings import DrawSettings

# What progress calls this work.
CEILING = "sampling for the ceiling"
WITHOUT_TOKENS = "sampling without tokens"


def drawing_facts(model: DiffusionModel, settings: DrawSettings) -> dict[str, Any]:
    """The sampling settings that a constant of the scale holds for."""
    drawing = model.drawing(settings)
    return {"steps": drawing.steps, "scheduler": drawing.scheduler, "guidance": drawing.guidance}


def drawing_key(model: DiffusionModel, settings: DrawSettings) -> dict[str, Any]:
    """Everything but prompt and seeds that changes a sample, its last digits included."""
    return {
        **drawing_facts(model, settings),
        "batch_size": settings.batch_size,
        "model": model.weights_hash,
        "device": model.device.type,
        "dtype": str(model.dtype),
        "versions": package_versions(),
    }


@dataclass(frozen=True)
class Undirected:
    """Samples of the prompt without a placeholder, one a seed: d(0) of any query is taken from them."""

    images: list[Image.Image]
    features: Sequence[Any]


def draw_undirected(
    model: DiffusionModel,
    metric: Distance,
    prompt: str,
    seeds: Sequence[int],
    settings: DrawSettings,
    runtime: Runtime,
    store: Store,
) -> Undirected:
    """Draws, or takes from the store, one image a seed from a prompt."""
    key = undirected_key(model, prompt, seeds, settings)
    entry = store.get(key)
    if entry is None:
        prompts = [prompt] * len(seeds)
        images = draw_prompts(model, prompts, seeds, settings, runtime, description=WITHOUT_TOKENS)
        store.put(key, Entry({"prompt": prompt}, pictures=[encoded(image, None)[1] for image in images]))
    else:
        images = [decoded(data) for data in entry.pictures]
    return Undirected(images, metric.features(images))


def undirected_key(model: DiffusionModel, prompt: str, seeds: Sequence[int], settings: DrawSettings) -> str:
    """Under which `draw_undirected` keeps its samples."""
    return content_key("undirected", prompt=prompt, seeds=list(seeds), **drawing_key(model, settings))


def find_ceiling(
    model: DiffusionModel,
    metric: Distance,
    count: int,
    settings: DrawSettings,
    runtime: Runtime,
    store: Store,
) -> float:
    """The mean distance over all pairs of `count` samples of the empty prompt.

    Their seeds are 0 … count − 1 whatever the run's seed: it is a constant of model, metric and settings.
    """
    key = ceiling_key(model, metric, count, settings)
    entry = store.get(key)
    if entry is not None:
        return float(entry.facts["ceiling"])
    unguided = settings.model_copy(
        update={"guidance": model.family.undirected(model.drawing(settings)).guidance}
    )
    images = draw_prompts(model, [""] * count, range(count), unguided, runtime, description=CEILING)
    ceiling = mean_over_pairs(metric.features(images), metric.between)
    store.put(key, Entry({"ceiling": ceiling}))
    return ceiling


def ceiling_key(model: DiffusionModel, metric: Distance, count: int, settings: DrawSettings) -> str:
    """Under which `find_ceiling` keeps what it found."""
    return content_key(
        "ceiling",
        metric=[metric.name, metric.version],
        count=count,
        **drawing_key(model, settings),
    )
