"""What the parts of a score run cost, so that the time left is that of the whole run from its first part on.

Counted like a dry run (`inversion.cost`), at most: early stopping makes learning shorter, and images that are
kept or out of the model's domain take no time. The metric's own passes are left out.
"""

from collections.abc import Collection

from origcli.inversion.templates import without_slot
from origcli.scoring.advice import calibration_flops, count_operations, image_flops
from origcli.scoring.baseline import CEILING, WITHOUT_TOKENS, ceiling_key, undirected_key
from origcli.scoring.models import Models
from origcli.scoring.self_calibration import CALIBRATING, CONTROLLING, automatic_budget
from origcli.scoring.setup import drawing_seeds, wants_edits
from origcli.scoring.store import Store
from origcli.scoring.thresholds import registered_ceiling
from origcli.settings import Settings

IMAGES = "images"  # what progress calls their measurement


def costs_of_run(
    images: int,
    models: Models,
    settings: Settings,
    store: Store,
    given: Collection[int] | None,
    calibrates: bool,
) -> dict[str, float]:
    """The floating-point operations of a run's parts, by what progress calls them.

    Empty where only the samples without tokens come before the images: counting takes a second or two, and
    these take no longer than a fraction of the first image.

    Args:
        images: how many there are.
        given: the token counts whose tokens are given.
        calibrates: the model is calibrated first.
    """
    has_ceiling = _has_ceiling(models, settings, store)
    if has_ceiling and not calibrates:
        return {}
    counted = count_operations(models.model, settings)
    costs: dict[str, float] = {}
    if calibrates:
        captions, controls = calibration_flops(counted, settings, automatic_budget(settings))
        costs |= {CALIBRATING: captions, CONTROLLING: controls}
    if not has_ceiling:
        costs[CEILING] = settings.score.ceiling_samples * counted.sample
    if not _has_undirected(models, settings, store):
        costs[WITHOUT_TOKENS] = settings.score.samples * counted.sample
    edits = settings.score.samples if wants_edits(models.metric, settings) else 0
    return {**costs, IMAGES: images * image_flops(counted, settings, edits, given)}


def _has_ceiling(models: Models, settings: Settings, store: Store) -> bool:
    if registered_ceiling(models, settings) is not None:
        return True
    key = ceiling_key(models.model, models.metric, settings.score.ceiling_samples, settings.draw)
    return store.get(key) is not None


def _has_undirected(models: Models, settings: Settings, store: Store) -> bool:
    seeds = drawing_seeds(settings.runtime.seed, settings.score.samples)
    prompt = without_slot(settings.score.prompt)
    return store.get(undirected_key(models.model, prompt, seeds, settings.draw)) is not None
