"""Popularity: are common images redrawn with one token because the model saw them (supplement 5)?

Images that a model was trained on are set against fresh ones of the same recipe. If their distances are
equal, low numbers of tokens tell of a common kind of image and not of a remembered one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from origcli.errors import InputError
from origcli.images.inputs import Input
from origcli.reports.schema import Estimate, ScoreResult, VerdictKind
from origcli.reports.studies import PopularityReport, PopularityResult, PopularitySummary
from origcli.reports.study_page import write_study_html
from origcli.reports.writers import write_report
from origcli.runtime.atomic import make_directory, read_json, write_bytes
from origcli.runtime.context import Runtime
from origcli.runtime.paths import from_here
from origcli.runtime.plan import record_plan
from origcli.runtime.seeding import derive_seed
from origcli.scenes.dataset import FACTS_NAME
from origcli.scenes.mixtures import Recipe, Sampler
from origcli.scenes.png import encode_png
from origcli.scenes.rendering import render
from origcli.scenes.scene import Scene, boxes_meet, whole_box
from origcli.scenes.writing import recipe_hash
from origcli.scoring.measure import Array, interval
from origcli.scoring.statistics import resampled_groups
from origcli.settings import Settings, SynthSettings
from origcli.studies.queries import QUERIES, SCORE, model_resolution, one_token, score, study_provenance
from origcli.weights.registry import resolve

Group = Literal["trained", "fresh"]
GROUPS: tuple[Group, ...] = get_args(Group)
_NINETY = (0.05, 0.95)


def run_popularity(
    data: Path, settings: Settings, runtime: Runtime, cache: Path | None = None
) -> PopularityReport:
    """Measures both groups with one token; writes the reports.

    Args:
        data: the data set that the model was trained on: its directory, or its `dataset.json` alone, for
            images are made again from the recipe.
        cache: directory of results kept by content.

    Raises:
        InputError: no data set, or one without common images, or not the one that the model was trained on.
        ModelError: the model is missing.
        UsageError: the directory holds a study of other data, or with another margin.
    """
    own = settings.popularity
    recipe = read_recipe(data)
    resolution = model_resolution(settings, runtime)
    notes = check_training_data(recipe, resolve(settings.score.model, runtime).path)
    # An image depends on the seed and its number alone: another seed has no image in common.
    recipes = {"trained": recipe, "fresh": Recipe(recipe.settings, derive_seed("fresh", own.seed))}
    hashes = {group: recipe_hash(recipe_of) for group, recipe_of in recipes.items()}
    scenes = {group: common_scenes(recipes[group], own.queries) for group in GROUPS}
    # Score knows images by name and place: those of other data would be taken for these. The margin is
    # declared before the result is seen.
    record_plan(runtime.out, {"data": hashes, **own.model_dump(mode="json")})
    inputs = [
        image
        for group in GROUPS
        for image in _write(runtime.out / QUERIES / group, group, scenes[group], resolution)
    ]
    measured = score(inputs, one_token(settings), runtime, cache)
    random = np.random.default_rng(derive_seed(runtime.seed, "popularity"))
    replicates = settings.score.bootstrap
    distances = {group: distances_of(measured.results, group) for group in GROUPS}
    samples = {group: resampled_means(distances[group], replicates, random) for group in GROUPS}
    report = PopularityReport(
        status=measured.report.status,
        provenance=study_provenance(measured, "popularity", settings, hashes, notes),
        results=tuple(
            PopularityResult(
                group=group,
                images=len(distances[group]),
                out_of_domain=sum(
                    result.group == group and result.verdict.kind == VerdictKind.out_of_domain
                    for result in measured.results
                ),
                distance=_estimate(distances[group], samples[group]),
                dataset_hash=hashes[group],
            )
            for group in GROUPS
        ),
        errors=measured.report.errors,
        summary=compare(distances, samples, own.margin),
    )
    write_report(runtime.out, report)
    write_study_html(runtime.out, report)
    return report


def read_recipe(path: Path) -> Recipe:
    """The recipe of a data set.

    Raises:
        InputError: it is none, or of another mixture than `originality`.
    """
    if not path.exists():
        raise InputError(
            f"{path}: no such data set",
            "give the directory, or the dataset.json, of the one that the model was trained on",
        )
    facts: Any = read_json(path / FACTS_NAME if path.is_dir() else path)
    try:
        kept = dict(facts["recipe"])
        settings = SynthSettings(**{name: kept[name] for name in SynthSettings.model_fields})
        recipe = Recipe(settings, int(kept["seed"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no data set's recipe: {error}") from error
    if settings.mixture != "originality" or not settings.common:
        raise InputError(
            f"{path}: a data set without common pairs",
            "give the data set that the model was trained on, of synth --mixture originality",
        )
    return recipe


def check_training_data(recipe: Recipe, pipeline: Path) -> tuple[str, ...]:
    """Compares a recipe with the data that a model was trained on, where its training run is beside it.

    Returns:
        A note where that is not known.

    Raises:
        InputError: they are not the same.
    """
    report = pipeline.parent / "report.json"
    facts: Any = read_json(report) if report.is_file() else None
    try:
        trained_on = facts["results"][0]["dataset_hash"]
    except (KeyError, IndexError, TypeError):
        return ("it is assumed that the model was trained on this data set: its training run is not here",)
    if trained_on != recipe_hash(recipe):
        raise InputError(
            f"{pipeline}: trained on other data (hash {trained_on[:12]}, not {recipe_hash(recipe)[:12]})",
            "give the data set that the model was trained on",
        )
    return ()


def common_scenes(recipe: Recipe, count: int) -> list[Scene]:
    """The first common images of a data set whose two elements stand apart.

    Raises:
        InputError: the data set has not so many.
    """
    sampler = Sampler(recipe)
    scenes: list[Scene] = []
    for index in range(recipe.settings.count):
        if len(scenes) == count:
            return scenes
        scene = sampler.scene(index)
        if scene.category == "common" and _apart(scene):
            scenes.append(scene)
    if len(scenes) < count:
        raise InputError(f"the data set has {len(scenes)} common images with elements apart, not {count}")
    return scenes


def _apart(scene: Scene) -> bool:
    first, second = (whole_box(placed.element, placed.x, placed.y) for placed in scene.placed)
    return not boxes_meet(first, second)


def _write(directory: Path, group: Group, scenes: Sequence[Scene], resolution: int) -> list[Input]:
    make_directory(directory)
    inputs = []
    for number, scene in enumerate(scenes):
        inputs.append(Input(from_here(directory / f"{number:03d}.png"), f"{group}-{number:03d}", group))
        write_bytes(inputs[-1].path, encode_png(render(scene, resolution)))
    return inputs


def distances_of(results: Sequence[ScoreResult], group: Group) -> Array:
    """d(1) of each sample, (images, repeats, 1, samples)."""
    rows = [result.curve[0].distances for result in results if result.group == group and result.curve]
    table = np.array(rows, dtype=np.float64)  # (images, repeats, samples)
    return table[:, :, None] if rows else table.reshape(0, 1, 1, 1)


def resampled_means(distances: Array, replicates: int, random: np.random.Generator) -> Array:
    """Bootstrap replicates (replicates,) of a group's mean: images, then the seeds of each."""
    if not len(distances):
        return np.empty(0)
    return np.array([curves.mean() for _, curves in resampled_groups(distances, replicates, random)])


def compare(distances: dict[Group, Array], samples: dict[Group, Array], margin: float) -> PopularitySummary:
    """The difference of the groups, and whether it is within a margin.

    Equivalent is what two one-sided tests at 5 % call so: the 90 % interval lies within the margin. It is
    denied only where that interval lies outside altogether.
    """
    if not all(len(values) for values in distances.values()):
        missing = Estimate.missing("a group has no measured image")
        return PopularitySummary(
            difference=missing, margin=margin, equivalent=None, words=_words(None, margin), score_report=SCORE
        )
    replicates = samples["fresh"] - samples["trained"]
    value = float(distances["fresh"].mean() - distances["trained"].mean())
    low, high = (float(edge) for edge in np.quantile(replicates, _NINETY))
    (span,) = interval(replicates[:, None])
    equivalent = (
        True if -margin < low and high < margin else False if high < -margin or low > margin else None
    )
    return PopularitySummary(
        difference=Estimate.of(value, span.low, span.high),
        low_90=low,
        high_90=high,
        margin=margin,
        equivalent=equivalent,
        words=_words(equivalent, margin),
        score_report=SCORE,
    )


def _words(equivalent: bool | None, margin: float) -> str:
    match equivalent:
        case True:
            return f"Equivalent: training images and fresh images are redrawn alike, within {margin:g}."
        case False:
            return f"Not equivalent: the two differ by more than {margin:g}."
    return f"Too close to call: a difference of less than {margin:g} is neither shown nor excluded."


def _estimate(distances: Array, samples: Array) -> Estimate:
    if not len(distances):
        return Estimate.missing("no image was measured")
    (span,) = interval(samples[:, None])
    return Estimate.of(float(distances.mean()), span.low, span.high)
