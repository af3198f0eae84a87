"""`origcli popularity`: are common pictures redrawn because the model saw these very ones?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from origcli.cli import options, present
from origcli.cli.score import CACHE
from origcli.errors import ExitCode

COLUMNS = ("group", "images", "distance", "distance_low", "distance_high", "error")


def popularity(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="The data set that the model was trained on: its directory, or its dataset.json.",
        ),
    ],
    model: options.ShapesModelOption = None,
    queries: Annotated[
        int | None, typer.Option("--queries", metavar="N", help="Pictures a group. [default: 15]")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin", metavar="D", help="Differences of distance under it are of no account. [default: 0.1]"
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", metavar="N", help="Drawings a picture. [default: 20]")
    ] = None,
    detector: options.DetectorOption = None,
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
    """Does having seen a picture make it easier to redraw? Trained-on common pictures against fresh ones.

    Takes common pictures out of the model's own data set, makes fresh ones by the same recipe, learns one
    token for each into OUT/score, and says whether their distances are equivalent: whether the 90 %
    interval of the difference lies within the margin. Writes report.json and report.csv to --out.

    \b
    Examples:
      origcli popularity data/shapes --out runs/popularity
      origcli popularity data/shapes/dataset.json --model runs/unet/pipeline --resume
    """
    flags: dict[str, dict[str, Any]] = {
        "popularity": {"queries": queries, "margin": margin},
        "score": {
            "model": model,
            "images": images,
            "detector": detector,
        },
        "runtime": {
            "seed": seed,
            "device": device,
            "dtype": dtype,
            "threads": threads,
            "offline": offline,
        },
    }
    settings = options.load_shapes_settings(preset, config, flags)
    from origcli.runtime.cache import cache_directory
    from origcli.runtime.context import open_runtime
    from origcli.studies.popularity import run

    target = out or Path("runs") / "popularity"
    progress = present.progress(quiet)
    with open_runtime(settings.runtime, target, progress, options.existing(resume, force)) as runtime:
        report = run(data, settings, runtime, cache_directory(CACHE) if cache else None)
    present.report(report, form, COLUMNS)
    if report.summary is not None and form is options.Format.table:
        difference = report.summary.difference
        if difference.value is not None:
            present.paragraph(f"fresh less trained: {difference.value:+.3f}. {report.summary.words}")
    progress.say(f"report: {target / 'report.json'}; every picture: {target / 'score' / 'report.html'}")
    return int(ExitCode.INPUT if report.errors else ExitCode.OK)
