"""`origcli fixed-location`: does a model that knows places redraw elements in them?"""

from pathlib import Path
from typing import Annotated

from origcli.cli import options, present
from origcli.cli.binding import Sets, option
from origcli.cli.renamed import Formerly
from origcli.cli.run import ALL, Run, command
from origcli.errors import ExitCode, UsageError

COLUMNS = (
    *("id", "caption", "drawings", "elements", "matched", "distance", "distance_low", "distance_high"),
    *("chance", "error"),
)
DROP = ("id", "matched", "drawings", "elements")


@command(ALL - {"dry_run"})
def fixed_location(
    model: Annotated[
        str | None,
        option(
            "-m --model",
            "MODEL",
            "Measure this model, e.g. one trained on free places; train none. [default: train one]",
            words=("shapes",),
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        option(
            "--init-from",
            "MODEL",
            "Start training from this pipeline, such as shapes; its VAE and text encoder stay as they are.",
            words=("shapes",),
        ),
    ] = None,
    count: Annotated[
        int | None,
        option("--count", "N", "Number of training images."),
        Sets("synth.count"),
    ] = None,
    epochs: Annotated[
        float | None,
        option("--epochs", "N", "Epochs of the UNet over them."),
        Sets("unet.epochs"),
    ] = None,
    queries: Annotated[
        int | None,
        option("--queries", "N", "Number of images to redraw, each once."),
        Sets("fixed_location.queries"),
    ] = None,
    samples: Annotated[
        int | None,
        option("--samples", "N", "Number of samples per image."),
        Formerly("--images"),
        Sets("fixed_location.samples"),
    ] = None,
    detector: Annotated[
        str,
        option(
            "--detector",
            "DIR",
            "Detector that finds the elements: shapes (bundled), or a trained one.",
            words=("shapes",),
        ),
        Sets("score.detector"),
    ] = "shapes",
    cache: options.CacheOption = True,
    *,
    run: Run,
) -> int:
    """Does a model redraw elements in their places, if it only ever saw them there?

    Trains a model on `synth --mixture originality --fixed-location`, learns one token for each of some
    common pairs, and measures how far their elements are from their places in the samples, compared with
    uniform places. Writes report.html, report.json, report.csv and a figure to --out.

    \b
    Examples:
      origcli fixed-location --out runs/fixed
      origcli fixed-location --init-from shapes --count 20000 --epochs 5 --out runs/fixed
      origcli fixed-location --model shapes --out runs/free
    """
    if model is not None and init_from is not None:
        raise UsageError(
            "--init-from has no effect with --model, which trains nothing", "leave out --init-from"
        )
    settings = run.settings
    with run.starting():
        from origcli.runtime.cache import SCORES, find_cache
        from origcli.studies.fixed_location import run_fixed_location

    target = run.out or Path("runs") / "fixed-location"
    with run.open(settings, target) as runtime:
        kept = find_cache(SCORES, run.progress.say) if cache else None
        report = run_fixed_location(settings, runtime, model=model, init_from=init_from, cache=kept)
    present.report(report, run.form, COLUMNS, drop=DROP)
    present.failures(report.errors, run.form, run.progress.say)
    if report.summary is not None and report.summary.distance.value is not None:
        distance, chance = report.summary.distance.value, report.summary.chance.value or 0.0
        run.progress.say(f"distance from their places: {distance:.3f}; of uniform places: {chance:.3f}")
    run.progress.say(f"report: {target / 'report.html'}; every image: {target / 'score' / 'report.html'}")
    return int(ExitCode.INPUT if report.errors else ExitCode.OK)
