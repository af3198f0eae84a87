"""`origcli fixed-location`: does a model that knows places redraw elements in them?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from origcli.cli import options, present
from origcli.cli.score import CACHE
from origcli.errors import ExitCode, UsageError

COLUMNS = (
    *("id", "caption", "drawings", "elements", "matched", "distance", "distance_low", "distance_high"),
    *("chance", "error"),
)


def fixed_location(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            autocompletion=lambda: ["shapes"],
            help="Measure this model, e.g. one that saw free places; train none. [default: train one]",
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--init-from",
            metavar="MODEL",
            autocompletion=lambda: ["shapes"],
            help="Train on from this pipeline, such as shapes: its VAE and text encoder are kept.",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", help="Pictures to train on. [default: 100000]"),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            "--epochs", metavar="N", help="Passes of the UNet over them. [default: small 4, paper 15]"
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option("--queries", metavar="N", help="Pictures to redraw, each once. [default: 24]"),
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", metavar="N", help="Drawings a picture. [default: 4]")
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            "--detector",
            metavar="DIR",
            autocompletion=lambda: ["shapes"],
            help="What finds the elements: shapes (bundled), or a trained one.",
        ),
    ] = "shapes",
    cache: options.CacheOption = True,
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    force: options.ForceOption = False,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    dtype: options.DtypeOption = None,
    threads: options.ThreadsOption = None,
    offline: options.OfflineOption = None,
    form: options.FormatOption = options.Format.table,
    quiet: options.QuietOption = False,
) -> int:
    """Do elements come back in their places, if a model only ever saw them there?

    Trains a model on `synth --mixture originality --fixed-location`, learns one token for each of some
    common pairs, and measures how far their elements are from their places in the drawings, against
    uniform places. Writes report.json, report.csv and a figure to --out.

    \b
    Examples:
      origcli fixed-location --out runs/fixed
      origcli fixed-location --init-from shapes --count 20000 --epochs 5 --out runs/fixed
      origcli fixed-location --model shapes --out runs/free
    """
    if model is not None and init_from is not None:
        raise UsageError("--model trains nothing, so there is nothing to start from", "leave out --init-from")
    flags: dict[str, dict[str, Any]] = {
        "fixed_location": {"queries": queries, "images": images},
        "score": {"detector": detector},
        "synth": {"count": count},
        "unet": {"epochs": epochs},
        "runtime": {
            "seed": seed,
            "device": device,
            "dtype": dtype,
            "threads": threads,
            "offline": offline,
        },
    }
    settings = options.load_settings(preset, config, flags)
    from origcli.runtime.cache import cache_directory
    from origcli.runtime.context import open_runtime
    from origcli.studies.fixed_location import run

    target = out or Path("runs") / "fixed-location"
    progress = present.progress(quiet)
    with open_runtime(settings.runtime, target, progress, options.existing(resume, force)) as runtime:
        kept = cache_directory(CACHE) if cache else None
        report = run(settings, runtime, model=model, init_from=init_from, cache=kept)
    present.report(report, form, COLUMNS)
    if report.summary is not None and report.summary.distance.value is not None:
        distance, chance = report.summary.distance.value, report.summary.chance.value or 0.0
        progress.say(f"distance from their places: {distance:.3f}; of uniform places: {chance:.3f}")
    progress.say(f"report: {target / 'report.json'}; every picture: {target / 'score' / 'report.html'}")
    return int(ExitCode.INPUT if report.errors else ExitCode.OK)
