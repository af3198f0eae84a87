"""The one door to models: from a name to the model in memory, for every command that opens one."""

from origcli.models.pipeline import DiffusionModel, load_pipeline
from origcli.runtime.context import Runtime
from origcli.weights.registry import ModelEntry, resolve


def open_model(
    name: str, runtime: Runtime, entry: ModelEntry | None = None
) -> tuple[ModelEntry, DiffusionModel]:
    """Finds, fetches where that is needed and allowed, checks and loads a model.

    Args:
        entry: the model, where it was found before.

    Raises:
        UsageError: no model has this name.
        ModelError: it is missing, damaged, of a kind that cannot be opened, not what was published, or cannot
            be fetched.
    """
    entry = entry or resolve(name, runtime)
    with runtime.progress.task(f"loading {entry.name} …", None):
        model = load_pipeline(
            entry.path,
            runtime,
            name=entry.name,
            variant=entry.variant,
            guidance=entry.guidance,
            resolution=entry.values.resolution,
            weights_hash=entry.weights_hash,
            remedy=entry.remedy,
        )
    return entry, model
