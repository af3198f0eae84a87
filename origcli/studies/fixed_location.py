"""Fixed places: does a model that always saw common pairs in one place redraw them there (supplement 3)?

The ablation of the in-distribution test: elements that come back in new places show understanding only if
a model that knew their places would have kept them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import stats
from scipy.optimize import linear_sum_assignment

from origcli.perception.elements import NEAR, Layout
from origcli.perception.metrics import default_metric
from origcli.reports.figures import picture_grid
from origcli.reports.saved_images import read_saved_image
from origcli.reports.schema import Estimate, ScoreResult
from origcli.reports.studies import FixedLocationReport, FixedLocationResult, FixedLocationSummary
from origcli.reports.study_page import write_study_html
from origcli.reports.writers import write_report
from origcli.runtime.atomic import make_directory, write_bytes
from origcli.runtime.context import Runtime
from origcli.runtime.plan import record_plan
from origcli.runtime.provenance import hash_files
from origcli.runtime.seeding import derive_seed
from origcli.scenes.dataset import Dataset
from origcli.scenes.elements import Element
from origcli.scenes.mixtures import Recipe
from origcli.scenes.placement import place_freely
from origcli.scenes.records import scene_of
from origcli.scoring.measure import Array, interval
from origcli.scoring.setup import open_models
from origcli.settings import Settings, SynthSettings
from origcli.studies.generalization.plan import model_facts
from origcli.studies.generalization.stages import train_model
from origcli.studies.queries import (
    QUERIES,
    SCORE,
    ScoredQueries,
    distinct,
    make_queries,
    model_resolution,
    one_token,
    score,
    study_provenance,
)
from origcli.weights.registry import name_of, resolve

MODEL = "model"
CHANCE_DRAWS, SIGN_FLIPS = 999, 9999
_SHOWN = 9


@dataclass(frozen=True)
class Match:
    """The elements of one class in one sample, as they were matched to those of the query.

    Attributes:
        places: (k, 2): where the query has them.
        drawn: how many the sample has.
        distances: (min(k, drawn),), in widths of the image, of the matching that makes their sum least.
    """

    element: Element
    places: Array
    drawn: int
    distances: Array


@dataclass(frozen=True)
class Offsets:
    """How far the elements of one query's samples are from their places.

    Attributes:
        elements: those of the query, times the samples.
        drawings: the matches of each sample.
    """

    elements: int
    drawings: tuple[tuple[Match, ...], ...]

    @property
    def distances(self) -> Array:
        """(matched,), sample by sample."""
        return _joined([match.distances for matches in self.drawings for match in matches])


def run_fixed_location(
    settings: Settings,
    runtime: Runtime,
    *,
    model: str | None = None,
    init_from: str | None = None,
    cache: Path | None = None,
) -> FixedLocationReport:
    """Trains a model where common pairs have fixed places, measures such pairs, writes reports and a figure.

    Args:
        model: a pipeline to measure instead of training one, e.g. one that saw free places.
        init_from: a pipeline whose VAE is kept and whose UNet is trained on, instead of new ones.
        cache: directory of results kept by content.

    Raises:
        ModelError: a model is missing.
    """
    if model is None:
        start = None if init_from is None else resolve(init_from, runtime).path
        model = train_fixed(settings, runtime, start)
    own = settings.fixed_location
    metric = default_metric(has_detector=True)
    settings = one_token(settings, model=model, metric=metric, samples=own.samples)
    recipe = fixed_recipe(settings).model_copy(
        update={
            "category": "common",
            "count": own.queries,
            "resolution": model_resolution(settings, runtime),
            "shards": None,
        }
    )
    data, inputs = make_queries(runtime.out / QUERIES, "common", recipe, own.seed, runtime)
    # An image that is there again is no other witness.
    unlike = distinct(inputs)
    if again := len(inputs) - len(unlike):
        runtime.progress.say(f"{again} of {len(inputs)} images are the same as others and are left out")
    measured = score(unlike, settings, runtime, cache)
    offsets_of = look_again(measured, data, settings, runtime)
    random = np.random.default_rng(derive_seed(runtime.seed, "fixed location"))
    chance = {name: at_chance(offset, CHANCE_DRAWS, random) for name, offset in offsets_of.items()}
    report = FixedLocationReport(
        status=measured.report.status,
        provenance=study_provenance(measured, "fixed-location", settings, {"common": data.hash}),
        results=tuple(
            query_result(
                *(result, record["text"], offsets_of[result.id], chance[result.id]),
                *(settings.score.bootstrap, random),
            )
            for result, record in _pairs(measured, data)
            if result.id in offsets_of
        ),
        errors=measured.report.errors,
        summary=summarize(
            [(offsets_of[name], chance[name]) for name in offsets_of], settings.score.bootstrap, random
        ),
        figures=_write_figure(runtime.out, measured),
    )
    write_report(runtime.out, report)
    write_study_html(runtime.out, report)
    return report


def fixed_recipe(settings: Settings) -> SynthSettings:
    """The originality mixture with common pairs at one place each."""
    return settings.synth.model_copy(
        update={"mixture": "originality", "category": None, "fixed_location": True, "no_overlap": False}
    )


def train_fixed(settings: Settings, runtime: Runtime, init_from: Path | None) -> str:
    """The pipeline trained in the run directory, as far as it is not there."""
    directory = make_directory(runtime.out / MODEL)
    recipe = Recipe(fixed_recipe(settings), derive_seed(runtime.seed, "fixed location"))
    record_plan(
        directory,
        {
            **model_facts(settings),
            "synth": recipe.settings.model_dump(mode="json"),
            "seed": runtime.seed,
            "init_from": init_from and hash_files(init_from.rglob("*.safetensors"), init_from),
        },
    )
    if init_from is not None:
        encoder = settings.text_encoder.model_copy(update={"source": name_of(init_from)})
        settings = settings.model_copy(update={"text_encoder": encoder})
    train_model(directory, recipe, settings, runtime, init_from)
    return name_of(directory / "unet" / "pipeline")


def _pairs(measured: ScoredQueries, data: Dataset) -> list[tuple[ScoreResult, dict[str, str]]]:
    """Each result with the record of its image, whose number ends its name."""
    return [(result, data.records[int(result.id.rpartition("-")[2])]) for result in measured.results]


def look_again(
    measured: ScoredQueries, data: Dataset, settings: Settings, runtime: Runtime
) -> dict[str, Offsets]:
    """Where the one-token samples of each query have its elements, by the query's id."""
    metric = open_models(settings, runtime).metric
    offsets_of = {}
    for result, record in _pairs(measured, data):
        if not result.curve:
            continue  # out of the model's domain
        pictures = [read_saved_image(runtime.out / SCORE, name) for name in result.curve[0].drawings]
        layouts = metric.features([picture for picture in pictures if picture is not None])
        scene = scene_of(record)
        query = Layout(tuple((placed.element, (placed.x, placed.y)) for placed in scene.placed))
        offsets_of[result.id] = offsets(query, layouts)
    return offsets_of


def offsets(query: Layout, drawings: Sequence[Layout]) -> Offsets:
    """Matches the elements of each class of the query with those of each sample."""
    return Offsets(
        elements=len(query.placed) * len(drawings),
        drawings=tuple(
            tuple(
                Match(element, np.array(ours), len(theirs), matched(np.array(ours), np.array(theirs)))
                for element, ours in query.places.items()
                if (theirs := drawing.places.get(element))
            )
            for drawing in drawings
        ),
    )


def matched(ours: Array, theirs: Array) -> Array:
    """The distances of pairs of places, matched so that their sum is least (Hungarian method).

    Args:
        ours: (k, 2).
        theirs: (n, 2).

    Returns:
        (min(k, n),)
    """
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    return np.asarray(apart[linear_sum_assignment(apart)])


def chance_distances(match: Match, draws: int, random: np.random.Generator) -> Array:
    """(draws, matched): what comes of as many elements at uniform places, as in free images (2.1).

    They are matched as the drawn ones were: the best of several is nearer than any one of them.
    """
    free = np.array(
        [[place_freely(match.element, random.random) for _ in range(match.drawn)] for _ in range(draws)]
    )
    return np.stack([matched(match.places, places) for places in free])


@dataclass(frozen=True)
class AtChance:
    """What uniform places would have given for one query.

    Attributes:
        distances: (draws, matched): the elements of all samples.
        ranks: (samples with a match,): the share of draws in which a sample's mean distance is less than
            the one that was found, minus one half. Uniform around 0 where elements are placed freely.
    """

    distances: Array
    ranks: Array


def at_chance(query: Offsets, draws: int, random: np.random.Generator) -> AtChance:
    """Simulates the matching of every sample. Samples that are alike in number share their draws."""
    known: dict[tuple[Element, int], Array] = {}
    columns, ranks = [], []
    for matches in query.drawings:
        for match in matches:
            if (match.element, match.drawn) not in known:
                known[match.element, match.drawn] = chance_distances(match, draws, random)
        if matches:
            chance = np.concatenate([known[match.element, match.drawn] for match in matches], axis=1)
            drawn = _joined([match.distances for match in matches]).mean()
            means = chance.mean(1)
            ranks.append((means < drawn).mean() + (means == drawn).mean() / 2 - 0.5)
            columns.append(chance)
    empty = np.empty((draws, 0))
    return AtChance(np.concatenate([empty, *columns], axis=1), np.array(ranks))


def query_result(
    result: ScoreResult,
    caption: str,
    query: Offsets,
    chance: AtChance,
    replicates: int,
    random: np.random.Generator,
) -> FixedLocationResult:
    """The numbers of one query."""
    distances = query.distances
    count = len(distances)
    distance = expected = Estimate.missing("no element of the image was found in its samples")
    if count:
        samples = distances[random.integers(count, size=(replicates, count))].mean(1)
        (span,) = interval(samples[:, None])
        distance = Estimate.of(float(distances.mean()), span.low, span.high)
        expected = Estimate.of(float(chance.distances.mean()))
    return FixedLocationResult(
        id=result.id,
        caption=caption,
        drawings=len(result.curve[0].drawings),
        elements=query.elements,
        matched=count,
        distance=distance,
        chance=expected,
    )


def summarize(
    queries: Sequence[tuple[Offsets, AtChance]], replicates: int, random: np.random.Generator
) -> FixedLocationSummary:
    """All matched elements together. Queries are the units of intervals and of the test: the samples of one
    share a learned token, so that they are not independent of each other.
    """
    known = [(query.distances, chance) for query, chance in queries if len(chance.ranks)]
    test = (
        f"one-sided sign-flip test over {len(known)} images: a sample's mean distance is ranked among "
        f"{CHANCE_DRAWS} draws of as many uniform places, matched as it was; an image's rank is the mean "
        "over its samples"
    )
    if not known:
        missing = Estimate.missing("no element of an image was found in its samples")
        return FixedLocationSummary(
            distance=missing,
            chance=missing,
            within=missing,
            chance_within=missing,
            test=test,
            score_report=SCORE,
        )
    distances = [values for values, _ in known]
    chance = np.concatenate([simulated.distances for _, simulated in known], axis=1)
    return FixedLocationSummary(
        distance=_over_queries(distances, replicates, random),
        chance=Estimate.of(float(chance.mean())),
        within=_over_queries([(values <= NEAR).astype(float) for values in distances], replicates, random),
        chance_within=Estimate.of(float((chance <= NEAR).mean())),
        p_value=sign_flip_p_value(np.array([simulated.ranks.mean() for _, simulated in known]), random),
        test=test,
        score_report=SCORE,
    )


def sign_flip_p_value(values: Array, random: np.random.Generator) -> float | None:
    """One-sided p of a mean as low, were values as often above 0 as below; `None` for fewer than two.

    Exact where there are few: of n values it is at least 1/2^n.
    """
    if len(values) < 2:
        return None
    test = stats.permutation_test(
        (values,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=SIGN_FLIPS,
        batch=1000,
        alternative="less",
        rng=random,
    )
    return float(test.pvalue)


def _joined(parts: Sequence[Array]) -> Array:
    """One array of several, which may be none."""
    return np.concatenate([np.empty(0), *parts])


def _over_queries(values: Sequence[Array], replicates: int, random: np.random.Generator) -> Estimate:
    """The mean over elements, queries resampled."""
    sums, counts = np.array([query.sum() for query in values]), np.array([len(query) for query in values])
    chosen = random.integers(len(values), size=(replicates, len(values)))
    (span,) = interval((sums[chosen].sum(1) / counts[chosen].sum(1))[:, None])
    return Estimate.of(float(sums.sum() / counts.sum()), span.low, span.high)


def _write_figure(directory: Path, measured: ScoredQueries) -> tuple[str, ...]:
    """Queries left, their one-token samples right (figure 3); none where nothing was drawn."""
    shown = [result for result in measured.results if result.curve and result.pictures][:_SHOWN]
    if not shown:
        return ()
    drawings = max(len(result.curve[0].drawings) for result in shown)
    pictures: dict[tuple[int, int], Image.Image] = {}
    for row, result in enumerate(shown):
        assert result.pictures is not None
        for column, name in enumerate([result.pictures.query, *result.curve[0].drawings]):
            picture = read_saved_image(directory / SCORE, name)
            if picture is not None:
                pictures[row, column] = picture
    columns = ["image", *(f"seed {number + 1}" for number in range(drawings))]
    make_directory(directory / "figures")
    name = "figures/fixed-location.png"
    write_bytes(directory / name, picture_grid([""] * len(shown), columns, pictures))
    return (name,)
