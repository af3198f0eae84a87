"""Fixed places: does a model that always saw common pairs in one place redraw them there (supplement 3)?

The ablation of the in-distribution test: elements that come back in new places show understanding only if
a model that knew their places would have kept them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment

from origcli.experiments.measure import Array, interval
from origcli.experiments.opening import open_models
from origcli.experiments.queries import QUERIES, SCORE, Measured, make_queries, model_resolution, score
from origcli.experiments.stages import train_model
from origcli.models.registry import resolve
from origcli.perception.elements import NEAR, Layout
from origcli.reports.figures import picture_grid
from origcli.reports.pictures import read_picture
from origcli.reports.schema import Estimate, ScoreResult
from origcli.reports.studies import FixedLocationReport, FixedLocationResult, FixedLocationSummary
from origcli.reports.writers import write_report
from origcli.runtime.context import Runtime
from origcli.runtime.paths import from_here, path_text
from origcli.runtime.plan import record_plan
from origcli.runtime.run_directory import make_directory, write_bytes
from origcli.runtime.seeding import derive_seed
from origcli.scenes.dataset import Dataset
from origcli.scenes.elements import Element
from origcli.scenes.mixtures import Recipe
from origcli.scenes.placement import place_freely
from origcli.scenes.records import scene_of
from origcli.settings import Settings, SynthSettings

MODEL = "model"
CHANCE_DRAWS = 9999
_SHOWN = 9


@dataclass(frozen=True)
class Offsets:
    """How far the elements of one query's drawings are from their places.

    Attributes:
        elements: those of the query, times the drawings.
        matched: the element of each matched pair.
        distances: (matched,), in widths of the picture.
        places: (matched, 2): where the query has it.
    """

    elements: int
    matched: tuple[Element, ...]
    distances: Array
    places: Array


def run(
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
    changes = {"model": model, "metric": "elements", "max_tokens": 1, "images": own.images}
    settings = settings.model_copy(update={"score": settings.score.model_copy(update=changes)})
    recipe = fixed_recipe(settings).model_copy(
        update={
            "category": "common",
            "count": own.queries,
            "resolution": model_resolution(settings, runtime),
            "shards": None,
        }
    )
    data, inputs = make_queries(runtime.out / QUERIES, "common", recipe, own.seed, runtime)
    measured = score(inputs, settings, runtime, cache)
    offsets = look_again(measured, data, settings, runtime)
    random = np.random.default_rng(derive_seed(runtime.seed, "fixed location"))
    report = FixedLocationReport(
        status=measured.report.status,
        provenance=measured.report.provenance.model_copy(update={"command": "fixed-location"}),
        results=tuple(
            query_result(result, record["text"], offsets[result.id], settings.score.bootstrap, random)
            for result, record in _pairs(measured, data)
            if result.id in offsets
        ),
        errors=measured.report.errors,
        summary=summarize(list(offsets.values()), settings.score.bootstrap, random),
        figures=(_write_figure(runtime.out, measured),),
    )
    write_report(runtime.out, report)
    return report


def fixed_recipe(settings: Settings) -> SynthSettings:
    """The originality mixture with common pairs at one place each."""
    return settings.synth.model_copy(
        update={"mixture": "originality", "category": None, "fixed_location": True, "no_overlap": False}
    )


def train_fixed(settings: Settings, runtime: Runtime, init_from: Path | None) -> str:
    """The pipeline trained in the run directory, as far as it is not there."""
    directory = make_directory(runtime.out / MODEL)
    sections = {name: getattr(settings, name).model_dump(mode="json") for name in ("vae", "unet")}
    recipe = Recipe(fixed_recipe(settings), derive_seed(runtime.seed, "fixed location"))
    record_plan(
        directory,
        {
            **sections,
            "synth": recipe.settings.model_dump(mode="json"),
            "seed": runtime.seed,
            "init_from": init_from and str(init_from),
        },
    )
    if init_from is not None:
        encoder = settings.text_encoder.model_copy(update={"source": str(init_from)})
        settings = settings.model_copy(update={"text_encoder": encoder})
    train_model(directory, recipe, settings, runtime, init_from)
    return path_text(from_here(directory / "unet" / "pipeline"))


def _pairs(measured: Measured, data: Dataset) -> list[tuple[ScoreResult, dict[str, str]]]:
    """Each result with the record of its picture, whose number ends its name."""
    return [(one, data.records[int(one.id.rpartition("-")[2])]) for one in measured.results]


def look_again(measured: Measured, data: Dataset, settings: Settings, runtime: Runtime) -> dict[str, Offsets]:
    """Where the one-token drawings of each query have its elements, by the query's id."""
    metric = open_models(settings, runtime).metric
    found = {}
    for result, record in _pairs(measured, data):
        if not result.curve:
            continue  # out of the model's domain
        pictures = [read_picture(runtime.out / SCORE, name) for name in result.curve[0].drawings]
        layouts = metric.features([picture for picture in pictures if picture is not None])
        scene = scene_of(record)
        query = Layout(tuple((one.element, (one.x, one.y)) for one in scene.placed))
        found[result.id] = offsets(query, layouts)
    return found


def offsets(query: Layout, drawings: Sequence[Layout]) -> Offsets:
    """Matches elements of one class so that the sum of their distances is least (Hungarian method)."""
    matched: list[Element] = []
    distances: list[float] = []
    places: list[tuple[float, float]] = []
    for drawing in drawings:
        theirs = drawing.places
        for element, ours in query.places.items():
            if element not in theirs:
                continue
            apart = np.linalg.norm(np.array(ours)[:, None] - np.array(theirs[element])[None], axis=-1)
            for row, column in zip(*linear_sum_assignment(apart), strict=True):
                matched.append(element)
                distances.append(float(apart[row, column]))
                places.append(ours[row])
    return Offsets(
        elements=len(query.placed) * len(drawings),
        matched=tuple(matched),
        distances=np.array(distances, dtype=np.float64),
        places=np.array(places, dtype=np.float64).reshape(-1, 2),
    )


def chance_distances(one: Offsets, draws: int, random: np.random.Generator) -> Array:
    """(draws, matched): distances of the same elements at uniform places, as in free pictures (2.1)."""
    found = np.empty((draws, len(one.matched)))
    for column, element in enumerate(one.matched):
        free = np.array([place_freely(element, random.random) for _ in range(draws)])  # (draws, 2)
        found[:, column] = np.linalg.norm(free - one.places[column], axis=1)
    return found


def query_result(
    result: ScoreResult, caption: str, one: Offsets, replicates: int, random: np.random.Generator
) -> FixedLocationResult:
    """The numbers of one query."""
    count = len(one.matched)
    distance = chance = Estimate.missing("no element of the query was found in its drawings")
    if count:
        samples = one.distances[random.integers(count, size=(replicates, count))].mean(1)
        (span,) = interval(samples[:, None])
        distance = Estimate.of(float(one.distances.mean()), span.low, span.high)
        chance = Estimate.of(float(chance_distances(one, replicates, random).mean()))
    return FixedLocationResult(
        id=result.id,
        caption=caption,
        drawings=len(result.curve[0].drawings),
        elements=one.elements,
        matched=count,
        distance=distance,
        chance=chance,
    )


def summarize(
    queries: Sequence[Offsets], replicates: int, random: np.random.Generator
) -> FixedLocationSummary:
    """All matched elements together; intervals resample queries, the test draws uniform places."""
    known = [one for one in queries if one.matched]
    test = f"one-sided Monte Carlo test, {CHANCE_DRAWS} draws of uniform places"
    if not known:
        missing = Estimate.missing("no element of a query was found in its drawings")
        return FixedLocationSummary(
            distance=missing,
            chance=missing,
            within=missing,
            chance_within=missing,
            test=test,
            score_report=SCORE,
        )
    everything = np.concatenate([one.distances for one in known])
    chance = np.concatenate([chance_distances(one, CHANCE_DRAWS, random) for one in known], axis=1)
    as_near = int((chance.mean(1) <= everything.mean()).sum())
    return FixedLocationSummary(
        distance=_over_queries([one.distances for one in known], replicates, random),
        chance=Estimate.of(float(chance.mean())),
        within=_over_queries([(one.distances <= NEAR).astype(float) for one in known], replicates, random),
        chance_within=Estimate.of(float((chance <= NEAR).mean())),
        p_value=(1 + as_near) / (1 + CHANCE_DRAWS),
        test=test,
        score_report=SCORE,
    )


def _over_queries(values: Sequence[Array], replicates: int, random: np.random.Generator) -> Estimate:
    """The mean over elements, queries resampled."""
    sums, counts = np.array([one.sum() for one in values]), np.array([len(one) for one in values])
    chosen = random.integers(len(values), size=(replicates, len(values)))
    (span,) = interval((sums[chosen].sum(1) / counts[chosen].sum(1))[:, None])
    return Estimate.of(float(sums.sum() / counts.sum()), span.low, span.high)


def _write_figure(directory: Path, measured: Measured) -> str:
    """Queries left, their one-token drawings right (figure 3)."""
    shown = [one for one in measured.results if one.curve and one.pictures][:_SHOWN]
    drawings = max((len(one.curve[0].drawings) for one in shown), default=0)
    pictures: dict[tuple[int, int], Image.Image] = {}
    for row, one in enumerate(shown):
        assert one.pictures is not None
        for column, name in enumerate([one.pictures.query, *one.curve[0].drawings]):
            picture = read_picture(directory / SCORE, name)
            if picture is not None:
                pictures[row, column] = picture
    columns = ["query", *(f"seed {number + 1}" for number in range(drawings))]
    make_directory(directory / "figures")
    name = "figures/fixed-location.png"
    if shown:
        write_bytes(directory / name, picture_grid([""] * len(shown), columns, pictures))
    return name
