"""The constants that a model needs before anything is measured with it: ceiling, PSNR limit, threshold.

The procedure, over pictures that the model was not trained on:
- ceiling: the mean distance over all pairs of drawings of the empty prompt;
- PSNR limit: the 1st percentile of the PSNR of the pictures' round trips through the VAE;
- threshold, where the pictures have captions: the 90th percentile, over pictures, of the mean distance
  between a picture and drawings of its own caption: what counts as redrawn when the words are known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from origcli.errors import InputError
from origcli.generation.sampling import draw_prompts
from origcli.images.inputs import find_inputs
from origcli.images.reading import fit, read_image
from origcli.reports.schema import CalibrateReport, CalibrateResult, Estimate, Status
from origcli.reports.writers import write_report
from origcli.runtime.context import Runtime
from origcli.runtime.seeding import derive_seed
from origcli.scenes.dataset import FACTS_NAME, read_dataset
from origcli.scoring.baseline import drawing_facts, find_ceiling
from origcli.scoring.measure import psnr
from origcli.scoring.models import Models
from origcli.scoring.query import round_trip
from origcli.scoring.setup import drawing_seeds, open_models, provenance
from origcli.scoring.statistics import resampled
from origcli.scoring.store import Store
from origcli.settings import Settings
from origcli.weights.registry import Scale, write_registry

THRESHOLD_QUANTILE = 0.9
PSNR_QUANTILE = 0.01


@dataclass(frozen=True)
class HeldOut:
    """A picture that the model was not trained on, at the model's size, and its caption if it has one."""

    image: Image.Image
    caption: str | None


def run(
    pictures: Sequence[str], queries: int, limit: int, settings: Settings, runtime: Runtime, write: bool
) -> CalibrateReport:
    """Calibrates the model of the settings and writes the report; with `write`, the model's registry.json.

    Args:
        pictures: a data set directory that the model was not trained on, or pictures as `find_inputs` takes.
        queries: how many captioned pictures the threshold is taken over.
        limit: the most pictures that the PSNR limit is taken over.

    Raises:
        InputError: there are too few pictures.
    """
    models = open_models(settings, runtime)
    held_out = read_held_out(pictures, limit, models.model.resolution, settings, runtime)
    if len(held_out) < 2:
        raise InputError("calibration needs at least two pictures", "give a held-out set")
    random = np.random.default_rng(derive_seed(runtime.seed, "calibrate"))
    limit_psnr, counted = psnr_limit(models, held_out, settings.score.bootstrap, random)
    captioned = [one for one in held_out if one.caption][:queries]
    threshold = Estimate.missing("the pictures have no captions")
    how = "none: the pictures have no captions"
    if captioned:
        distances = caption_distances(models, captioned, settings, runtime)
        threshold = quantile(distances, THRESHOLD_QUANTILE, settings.score.bootstrap, random)
        how = (
            f"{THRESHOLD_QUANTILE:.0%} quantile over {len(captioned)} held-out pictures of the mean distance "
            f"to {settings.score.images} drawings of their own caption"
        )
    score = settings.score
    store = Store(runtime.out / ".work")
    ceiling = find_ceiling(models.model, models.metric, score.ceiling_images, settings.draw, runtime, store)
    result = CalibrateResult(
        model=models.model.name,
        metric=models.metric.name,
        metric_version=models.metric.version,
        threshold=threshold,
        threshold_how=how,
        ceiling=Estimate.of(ceiling),
        ceiling_images=score.ceiling_images,
        psnr_limit=limit_psnr,
        psnr_images=counted,
        draw_settings=drawing_facts(models.model, settings.draw),
    )
    made_by = provenance("calibrate", models, settings)
    report = CalibrateReport(status=Status.complete, provenance=made_by, results=(result,))
    write_report(runtime.out, report)
    if write:
        register(models, result)
    return report


def read_held_out(
    pictures: Sequence[str], limit: int, resolution: int, settings: Settings, runtime: Runtime
) -> list[HeldOut]:
    """At most `limit` pictures, and their captions where they come from a data set of ours."""
    if len(pictures) == 1 and (Path(pictures[0]) / FACTS_NAME).is_file():
        dataset = read_dataset(pictures[0])
        crop = settings.score.crop
        return [
            HeldOut(fit(Image.fromarray(dataset.image(i)), resolution, crop), dataset.captions[i])
            for i in range(min(limit, len(dataset)))
        ]
    inputs = find_inputs(pictures, say=runtime.progress.say)[:limit]
    return [HeldOut(read_image(one.path, resolution, settings.score.crop)[0], None) for one in inputs]


def psnr_limit(
    models: Models, held_out: Sequence[HeldOut], replicates: int, random: np.random.Generator
) -> tuple[Estimate, int]:
    """The 1st percentile of the round trips' PSNR in dB, and over how many; exact ones have none."""
    values = []
    for one in held_out:
        value = psnr(np.asarray(one.image), np.asarray(round_trip(models.model, one.image)))
        if value is not None:
            values.append(value)
    if not values:
        return Estimate.missing("every round trip is exact"), 0
    return quantile(values, PSNR_QUANTILE, replicates, random), len(values)


def caption_distances(
    models: Models, held_out: Sequence[HeldOut], settings: Settings, runtime: Runtime
) -> list[float]:
    """The mean distance of each picture to drawings of its own caption."""
    seeds = drawing_seeds(runtime.seed, settings.score.images)
    found = []
    with runtime.progress.task("pictures", len(held_out)) as bar:
        for one in held_out:
            assert one.caption is not None
            prompts = [one.caption] * len(seeds)
            drawings = draw_prompts(models.model, prompts, seeds, settings.draw, runtime)
            query, *features = models.metric.features([one.image, *drawings])
            found.append(float(np.mean([models.metric.between(query, feature) for feature in features])))
            bar.advance(1, distance=found[-1])
    return found


def quantile(values: Sequence[float], share: float, replicates: int, random: np.random.Generator) -> Estimate:
    """A quantile of values with its bootstrap interval."""
    at: Callable[[Any], float] = lambda sample: float(np.quantile(sample, share))  # noqa: E731
    span = resampled(at, [values], replicates, random)
    value = at(values)
    return Estimate.of(value) if span is None else Estimate.of(value, span.low, span.high)


def register(models: Models, result: CalibrateResult) -> None:
    """Writes what was found to the model's registry.json, in place of what was there for these settings."""
    if result.ceiling.value is None or result.ceiling.value <= 0:
        raise InputError("the ceiling is 0: the model draws the same over and over, and cannot be registered")
    scale = Scale(
        metric=result.metric,
        metric_version=result.metric_version,
        weights_hash=models.model.weights_hash,
        draw=dict(result.draw_settings),
        ceiling=result.ceiling.value,
        ceiling_images=result.ceiling_images,
        threshold=result.threshold.value,
        threshold_how=result.threshold_how,
    )
    same = (scale.metric, scale.metric_version, scale.weights_hash, scale.draw)
    others = [
        one
        for one in models.entry.scales
        if (one.metric, one.metric_version, one.weights_hash, one.draw) != same
    ]
    values = models.entry.values.model_copy(
        update={
            "metric": result.metric,
            "guidance": float(str(result.draw_settings["guidance"])),
            "weights_hash": models.model.weights_hash,
            "psnr_limit": result.psnr_limit.value,
            "psnr_how": f"{PSNR_QUANTILE:.0%} quantile over {result.psnr_images} held-out round trips",
            "scales": (*others, scale),
        }
    )
    write_registry(models.entry.path, values)
