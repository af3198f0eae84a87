"""Query images of the shapes world, made from recipes, and measured by the one measure there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from origcli.errors import InputError, ModelError
from origcli.images.inputs import Input
from origcli.perception.metrics import default_metric
from origcli.reports.schema import Provenance, ScoreReport, ScoreResult
from origcli.reports.writers import ResultLog
from origcli.runtime.atomic import read_json
from origcli.runtime.context import Runtime
from origcli.runtime.paths import from_here
from origcli.runtime.provenance import hash_file, hash_value
from origcli.scenes.dataset import Dataset
from origcli.scenes.mixtures import Recipe
from origcli.scenes.writing import write_dataset
from origcli.scoring.run import Request, score_images
from origcli.scoring.run_archive import RESULTS
from origcli.settings import Settings, SynthSettings
from origcli.studies.generalization.stages import inner
from origcli.weights.registry import resolve

SCORE = "score"
QUERIES = "queries"

Category = Literal["common", "rare", "unseen"]


@dataclass(frozen=True)
class ScoredQueries:
    """A score run over query images.

    Attributes:
        report: all but the results where there are several.
        results: in the order of the images.
    """

    report: ScoreReport
    results: tuple[ScoreResult, ...]


def shapes_alone(settings: Settings) -> Settings:
    """The settings of a study of shapes: `auto` is the bundled model; the metric is that of a detector."""
    model = "shapes" if settings.score.model == "auto" else settings.score.model
    changes = {"model": model, "metric": default_metric(has_detector=True)}
    score = settings.score.model_copy(update=changes)
    return settings.model_copy(update={"score": score})


def one_token(settings: Settings, **changes: Any) -> Settings:
    """The settings of a study of distances after one token: it needs no threshold, so none is calibrated.

    Args:
        changes: of the section `score` besides.
    """
    changes |= {"max_tokens": 1, "calibrate": False, "until_reached": False}
    return settings.model_copy(update={"score": settings.score.model_copy(update=changes)})


def make_queries(
    directory: Path, name: str, synth: SynthSettings, seed: int, runtime: Runtime
) -> tuple[Dataset, list[Input]]:
    """Writes a set of query images, or opens it where it is; its group is `name`."""
    data = write_dataset(Recipe(synth, seed), directory / name, existing="use", progress=runtime.progress)
    inputs = [
        Input(from_here(data.path / record["file_name"]), f"{name}-{number:03d}", name)
        for number, record in enumerate(data.records)
    ]
    return data, inputs


def distinct(inputs: Sequence[Input]) -> list[Input]:
    """The first of each image: of pairs in fixed places there are no more than combinations of colors."""
    first: dict[str, Input] = {}
    for image in inputs:
        first.setdefault(hash_file(image.path), image)
    return list(first.values())


def query_recipe(settings: Settings, category: Category, count: int, resolution: int) -> SynthSettings:
    """Images of one category whose elements stand apart from each other."""
    return settings.synth.model_copy(
        update={
            "mixture": "originality",
            "category": category,
            "count": count,
            "resolution": resolution,
            "no_overlap": True,
            "fixed_location": False,
            "shards": None,
        }
    )


def model_resolution(settings: Settings, runtime: Runtime) -> int:
    """Pixels across an image of the model that the settings name, read from its configuration.

    Raises:
        ModelError: it is missing or damaged.
    """
    path = resolve(settings.score.model, runtime).path
    try:
        denoiser = "unet" if (path / "unet").is_dir() else "transformer"
        size = read_json(path / denoiser / "config.json")["sample_size"]
        levels = len(read_json(path / "vae" / "config.json")["block_out_channels"])
        return int(size) * 2 ** (levels - 1)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: cannot read the size of its images: {error}") from error


def study_provenance(
    measured: ScoredQueries,
    command: Literal["rarity", "fixed-location", "popularity"],
    settings: Settings,
    hashes: Mapping[Any, str],
    notes: Sequence[str] = (),
) -> Provenance:
    """What made a study: its score run, and the study's own section, which has the seed of the queries.

    Args:
        hashes: of the data that the queries are of, by group.
    """
    own = measured.report.provenance
    section = command.replace("-", "_")
    values: dict[str, Any] = {**own.settings, section: getattr(settings, section).model_dump(mode="json")}
    return own.model_copy(
        update={
            "command": command,
            "settings": values,
            "settings_hash": hash_value(values),
            "dataset_hash": "+".join(hashes.values()),
            "notes": (*own.notes, *notes),
        }
    )


def score(inputs: Sequence[Input], settings: Settings, runtime: Runtime, cache: Path | None) -> ScoredQueries:
    """Measures images in `score/`; resumes a stopped run."""
    with inner(runtime, runtime.out / SCORE) as own:
        report = score_images(Request(inputs, cache=cache), settings, own)
        return ScoredQueries(report, tuple(ResultLog(own.out / RESULTS, ScoreResult)))
