"""From a model's name to the model in memory."""

from origcli.errors import ModelError
from origcli.models.pipeline import DiffusionModel, load_pipeline
from origcli.runtime.context import Runtime
from origcli.weights.registry import ModelEntry, resolve


def open_model(name: str, runtime: Runtime) -> tuple[ModelEntry, DiffusionModel]:
    """Finds, fetches where that is needed and allowed, loads and checks a model.

    Raises:
        UsageError: no model has this name.
        ModelError: it is missing, damaged, not what was published, or cannot be fetched.
    """
    entry = resolve(name, runtime)
    model = load_pipeline(
        entry.path, runtime, name=entry.name, variant=entry.variant, guidance=entry.guidance
    )
    if entry.weights_hash not in (None, model.weights_hash):
        raise ModelError(
            f"{entry.path}: these are not the weights that were published", "fetch or install the model again"
        )
    return entry, model
