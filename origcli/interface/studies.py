"""`generalize`, `rarity`, `fixed_location` and `popularity`: the controlled experiments."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from origcli.interface.calling import DRAWING, AnyPath, Call, Preset, SettingsTree, as_path, checked

if TYPE_CHECKING:
    from origcli.reports.schema import (
        FixedLocationReport,
        GeneralizeReport,
        PopularityReport,
        RarityReport,
    )

_RUNS = Path("runs")
_GENERALIZE = {
    "guidance": DRAWING["guidance"],
    "denoising_steps": DRAWING["denoising_steps"],
    "levels": "generalize.levels",
    "repeats": "generalize.repeats",
    "samples": "generalize.samples",
    "count": "synth.count",
    "max_elements": "generalize.max_elements",
    "detector": "generalize.detector",
    "text_encoder": "text_encoder.source",
    "keep_data": "generalize.keep_data",
}
_RARITY = {
    "model": "score.model",
    "queries": "rarity.queries",
    "max_tokens": "score.max_tokens",
    "samples": "score.samples",
    "detector": "score.detector",
    "calibrate": "score.calibrate",
}
_FIXED_LOCATION = {
    "count": "synth.count",
    "epochs": "unet.epochs",
    "queries": "fixed_location.queries",
    "samples": "fixed_location.samples",
    "detector": "score.detector",
}
_POPULARITY = {
    "model": "score.model",
    "queries": "popularity.queries",
    "margin": "popularity.margin",
    "samples": "score.samples",
    "detector": "score.detector",
}


@checked
def generalize(
    *,
    levels: Sequence[int] | None = None,
    repeats: int | None = None,
    samples: int | None = None,
    count: int | None = None,
    max_elements: int | None = None,
    only: Sequence[str] = (),
    detector: AnyPath | None = None,
    text_encoder: str | None = None,
    guidance: float | None = None,
    denoising_steps: int | str | None = None,
    keep_data: bool | None = None,
    ray: str | None = None,
    out: AnyPath | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "GeneralizeReport":
    """Trains models that never saw one element, and counts how often they generate it; `origcli generalize`.

    Args:
        levels, repeats, samples, count, max_elements, detector, text_encoder, guidance, denoising_steps,
            keep_data, ray: as the options of the command.
        only: names or patterns of experiments; none: all.
        out and the keywords after it: as of `score`; `out` is `runs/generalize` by default.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.presets import for_many_models
    from origcli.studies.generalization.run import run_generalization

    call = Call.of("generalize", locals(), _GENERALIZE, for_many_models)
    with call.opened_in(_RUNS / "generalize") as runtime:
        return run_generalization(call.settings, runtime, only, ray).at(runtime.given)


@checked
def rarity(
    *,
    model: str | None = None,
    queries: int | None = None,
    max_tokens: int | None = None,
    samples: int | None = None,
    detector: AnyPath | None = None,
    calibrate: bool | None = None,
    cache: bool = True,
    out: AnyPath | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "RarityReport":
    """Scores pairs of shapes that a model saw often, seldom and never; `origcli rarity`.

    Args:
        model, queries, max_tokens, samples, detector, calibrate, cache: as the options of the command.
        out and the keywords after it: as of `score`; `out` is `runs/rarity` by default.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.studies.queries import shapes_alone
    from origcli.studies.rarity import run_rarity

    call = Call.of("rarity", locals(), _RARITY)
    with call.opened_in(_RUNS / "rarity") as runtime:
        return run_rarity(shapes_alone(call.settings), runtime, call.kept(cache)).at(runtime.given)


@checked
def fixed_location(
    *,
    model: str | None = None,
    init_from: str | None = None,
    count: int | None = None,
    epochs: float | None = None,
    queries: int | None = None,
    samples: int | None = None,
    detector: AnyPath = "shapes",
    cache: bool = True,
    out: AnyPath | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "FixedLocationReport":
    """Measures whether elements come back in their fixed places; `origcli fixed-location`.

    Args:
        model: measure this model; train none.
        init_from: train on from this pipeline.
        count, epochs, queries, samples, detector, cache: as the options of the command.
        out and the keywords after it: as of `score`; `out` is `runs/fixed-location` by default.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.studies.fixed_location import run_fixed_location

    if model is not None and init_from is not None:
        raise TypeError("model trains nothing, so there is nothing to start from: leave out init_from")
    call = Call.of("fixed-location", locals(), _FIXED_LOCATION)
    with call.opened_in(_RUNS / "fixed-location") as runtime:
        report = run_fixed_location(
            call.settings, runtime, model=model, init_from=init_from, cache=call.kept(cache)
        )
        return report.at(runtime.given)


@checked
def popularity(
    data: AnyPath,
    *,
    model: str | None = None,
    queries: int | None = None,
    margin: float | None = None,
    samples: int | None = None,
    detector: AnyPath | None = None,
    cache: bool = True,
    out: AnyPath | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "PopularityReport":
    """Compares images that a model was trained on with fresh ones; `origcli popularity`.

    Args:
        data: the data set that the model was trained on: its directory, or its dataset.json.
        model, queries, margin, samples, detector, cache: as the options of the command.
        out and the keywords after it: as of `score`; `out` is `runs/popularity` by default.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.studies.popularity import run_popularity
    from origcli.studies.queries import shapes_alone

    call = Call.of("popularity", locals(), _POPULARITY)
    with call.opened_in(_RUNS / "popularity") as runtime:
        report = run_popularity(as_path(data), shapes_alone(call.settings), runtime, call.kept(cache))
        return report.at(runtime.given)
