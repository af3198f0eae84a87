"""The constants that a model needs before anything is measured with it: ceiling, PSNR limit, threshold.

On the model's own samples (`self_calibration`), or over images that the model was not trained on:
- ceiling: the mean distance over all pairs of samples of the empty prompt;
- PSNR limit: the 1st percentile of the PSNR of the images' round trips through the VAE;
- threshold, where the images have captions: the 90th percentile, over images, of the mean distance
  between an image and samples of its caption: what counts as redrawn when the caption is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from origcli.errors import InputError
from origcli.generation.sampling import draw_prompts
from origcli.images.inputs import find_captioned, find_inputs
from origcli.images.reading import fit, read_image
from origcli.images.sources import Found, Source
from origcli.reports.envelope import LeftOut
from origcli.reports.schema import CalibrateReport, CalibrateResult, Estimate, Failure, Status
from origcli.reports.writers import write_report
from origcli.runtime.context import Runtime
from origcli.runtime.seeding import derive_seed
from origcli.scenes.dataset import FACTS_NAME, read_dataset
from origcli.scoring.baseline import drawing_facts, find_ceiling
from origcli.scoring.measure import psnr
from origcli.scoring.models import Models
from origcli.scoring.query import round_trip
from origcli.scoring.self_calibration import Budget, calibrate_self
from origcli.scoring.setup import drawing_seeds, open_models, provenance_of
from origcli.scoring.statistics import quantile
from origcli.scoring.store import Store
from origcli.settings import Settings
from origcli.weights.registry import Calibration, write_registry

THRESHOLD_QUANTILE = 0.9
PSNR_QUANTILE = 0.01


@dataclass(frozen=True)
class HeldOut:
    """An image that the model was not trained on, at the model's size, and its caption if it has one."""

    image: Image.Image
    caption: str | None


def calibrate_model(
    pictures: Sequence[str | Found],
    queries: int,
    limit: int,
    settings: Settings,
    runtime: Runtime,
    write: bool,
    *,
    store: Store | None = None,
    captions: Path | None = None,
    image_column: str | None = None,
) -> CalibrateReport:
    """Calibrates the model of the settings and writes the report; with `write`, the model's registry.json.

    Args:
        pictures: held-out images as `read_held_out` takes them; empty for the model's own samples.
        queries: how many captioned images the threshold is taken over.
        limit: the most images that the PSNR limit is taken over.
        store: where a scale of the model's own samples is kept for `score` to find.
        captions: a file with one caption a line, for the model's own samples.
        image_column: of tables with several columns of images.

    Raises:
        InputError: there are too few images or captions, or the model draws one image over and over.
    """
    models = open_models(settings, runtime)
    store = store or Store(runtime.out / ".work")
    failures: tuple[Failure, ...] = ()
    left_out: list[LeftOut] = []
    if pictures:
        held_out, failures = read_held_out(
            pictures, limit, models.model.resolution, settings, runtime, image_column, left_out
        )
        constants = _from_images(held_out, queries, models, settings, runtime)
    else:
        constants = _from_own_samples(models, settings, runtime, store, captions)

    score = settings.score
    ceiling = find_ceiling(models.model, models.metric, score.ceiling_samples, settings.draw, runtime, store)
    if ceiling <= 0:
        raise InputError(
            "the ceiling is 0: all samples of the model are the same, so there is no scale",
            "choose another model, --metric or --guidance",
        )
    result = CalibrateResult(
        model=models.model.name,
        metric=models.metric.name,
        metric_version=models.metric.version,
        ceiling=Estimate.of(ceiling),
        ceiling_images=score.ceiling_samples,
        draw_settings=drawing_facts(models.model, settings.draw),
        **constants,
    )
    provenance = provenance_of("calibrate", models, settings)
    status = Status.partial if failures else Status.complete
    report = CalibrateReport(
        status=status,
        provenance=provenance,
        results=(result,),
        errors=failures,
        left_out=tuple(left_out),
    )
    write_report(runtime.out, report)
    if write:
        register(models, result)
    return report


def _from_images(
    held_out: Sequence[HeldOut], queries: int, models: Models, settings: Settings, runtime: Runtime
) -> dict[str, Any]:
    """The threshold and the PSNR limit from held-out images, with their captions where they have some."""
    if len(held_out) < 2:
        raise InputError("calibration needs at least two images", "give a held-out set")
    random = np.random.default_rng(derive_seed(runtime.seed, "calibrate"))
    limit_psnr, counted = psnr_limit(models, held_out, settings.score.bootstrap, random)
    captioned = [image for image in held_out if image.caption][:queries]
    facts: dict[str, Any] = {"psnr_limit": limit_psnr, "psnr_images": counted}
    if not captioned:
        missing = Estimate.missing("the images have no captions")
        return {**facts, "threshold": missing, "threshold_how": "none: the images have no captions"}

    distances = caption_distances(models, captioned, settings, runtime)
    how = (
        f"{THRESHOLD_QUANTILE:.0%} quantile over {len(captioned)} held-out images of the mean distance "
        f"to {settings.score.samples} samples of their own caption"
    )
    threshold = quantile(distances, THRESHOLD_QUANTILE, settings.score.bootstrap, random)
    return {**facts, "threshold": threshold, "threshold_how": how}


def _from_own_samples(
    models: Models, settings: Settings, runtime: Runtime, store: Store, captions: Path | None
) -> dict[str, Any]:
    """The threshold, the PSNR limit and the positive control from the model's own samples."""
    own = settings.calibrate
    budget = Budget(own.captions, own.samples, own.controls)
    scale = calibrate_self(models, settings, runtime, store, budget, captions)
    control = scale.control
    return {
        "threshold": scale.threshold,
        "threshold_how": scale.how,
        "psnr_limit": scale.psnr_limit,
        "psnr_images": scale.psnr_images,
        "captions": scale.captions,
        "samples": scale.samples,
        "control_images": control and control.images,
        "control_within": control and control.within,
    }


def read_held_out(
    pictures: Sequence[str | Found],
    limit: int,
    resolution: int,
    settings: Settings,
    runtime: Runtime,
    image_column: str | None = None,
    left_out: list[LeftOut] | None = None,
) -> tuple[list[HeldOut], tuple[Failure, ...]]:
    """At most `limit` images at the model's size, and their captions where these are known.

    Args:
        pictures: a data set of `origcli synth`; a list or data set with captions as `find_captioned` takes it
            (a directory with a metadata.jsonl as `load_dataset("imagefolder")` reads it, a CSV list …); or
            images as `find_inputs` takes them, which have no captions.
        image_column: of tables with several columns of images.
        left_out: as of `find_inputs`.

    Returns:
        The images that can be read, and what is wrong with the others.

    Raises:
        InputError: a list cannot be read.
    """
    crop, say, offline = settings.score.crop, runtime.progress.say, settings.runtime.offline
    alone = pictures[0] if len(pictures) == 1 else None
    if isinstance(alone, str) and (Path(alone) / FACTS_NAME).is_file():
        dataset = read_dataset(alone)
        images = (
            HeldOut(fit(Image.fromarray(dataset.image(i)), resolution, crop), dataset.captions[i])
            for i in range(min(limit, len(dataset)))
        )
        return list(images), ()
    captioned: Sequence[tuple[Path | Source, str | None]] | None = (
        find_captioned(alone, say, image_column, offline, left_out) if isinstance(alone, str) else None
    )
    if captioned is None:
        inputs = find_inputs(pictures, image_column=image_column, offline=offline, say=say, left_out=left_out)
        captioned = [(image.source, None) for image in inputs]
    held_out, failures = [], []
    for source, caption in captioned[:limit]:
        try:
            held_out.append(HeldOut(read_image(source, resolution, crop)[0], caption))
        except InputError as problem:
            failures.append(Failure.of(problem, source if isinstance(source, Path) else source.where))
            say(f"left out: {problem.message}")
    return held_out, tuple(failures)


def psnr_limit(
    models: Models, held_out: Sequence[HeldOut], replicates: int, random: np.random.Generator
) -> tuple[Estimate, int]:
    """The 1st percentile of the round trips' PSNR in dB, and over how many; exact ones have none."""
    values = []
    for picture in held_out:
        value = psnr(np.asarray(picture.image), np.asarray(round_trip(models.model, picture.image)))
        if value is not None:
            values.append(value)
    if not values:
        return Estimate.missing("every round trip is exact"), 0
    return quantile(values, PSNR_QUANTILE, replicates, random), len(values)


def caption_distances(
    models: Models, held_out: Sequence[HeldOut], settings: Settings, runtime: Runtime
) -> list[float]:
    """The mean distance of each image to samples of its caption."""
    seeds = drawing_seeds(runtime.seed, settings.score.samples)
    means = []
    with runtime.progress.task("images", len(held_out)) as bar:
        for picture in held_out:
            assert picture.caption is not None
            prompts = [picture.caption] * len(seeds)
            drawings = draw_prompts(models.model, prompts, seeds, settings.draw, runtime)
            query, *features = models.metric.features([picture.image, *drawings])
            means.append(float(np.mean([models.metric.between(query, feature) for feature in features])))
            bar.advance(1, distance=means[-1])
    return means


def register(models: Models, result: CalibrateResult) -> None:
    """Writes what was found to the model's registry.json, in place of what was there for these settings."""
    scale = Calibration(
        metric=result.metric,
        metric_version=result.metric_version,
        weights_hash=models.model.weights_hash,
        draw=dict(result.draw_settings),
        ceiling=result.ceiling.value or 0.0,
        ceiling_images=result.ceiling_images,
        threshold=result.threshold.value,
        threshold_how=result.threshold_how,
        control_images=result.control_images,
        control_within=result.control_within,
    )
    same = (scale.metric, scale.metric_version, scale.weights_hash, scale.draw)
    others = [
        other
        for other in models.entry.scales
        if (other.metric, other.metric_version, other.weights_hash, other.draw) != same
    ]
    held_out = {}
    if result.captions is None:  # own samples pass a VAE better than images of others: they set no limit
        held_out = {
            "psnr_limit": result.psnr_limit.value,
            "psnr_how": f"{PSNR_QUANTILE:.0%} quantile over {result.psnr_images} held-out round trips",
        }
    values = models.entry.values.model_copy(
        update={
            **held_out,
            "metric": result.metric,
            "guidance": float(str(result.draw_settings["guidance"])),
            "weights_hash": models.model.weights_hash,
            "scales": (*others, scale),
        }
    )
    write_registry(models.entry.path, values)
