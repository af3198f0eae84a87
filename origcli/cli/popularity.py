"""`origcli popularity`: are common images redrawn because the model saw these very ones?"""

from pathlib import Path
from typing import Annotated

from origcli.cli import options, present
from origcli.cli.binding import Sets, argument, option
from origcli.cli.run import ALL, Run, command
from origcli.errors import ExitCode

COLUMNS = ("group", "images", "distance", "distance_low", "distance_high", "error")


@command(ALL - {"dry_run"})
def popularity(
    data: Annotated[
        Path,
        argument(
            "DATASET", "The data set that the model was trained on: its directory, or its dataset.json."
        ),
    ],
    model: options.ShapesModelOption = None,
    queries: Annotated[
        int | None,
        option("--queries", "N", "Images per group."),
        Sets("popularity.queries"),
    ] = None,
    margin: Annotated[
        float | None,
        option("--margin", "D", "Differences of distance below this are treated as none."),
        Sets("popularity.margin"),
    ] = None,
    samples: options.SamplesOption = None,
    detector: options.DetectorOption = None,
    cache: options.CacheOption = True,
    *,
    run: Run,
) -> int:
    """Are images from the training set easier to redraw? Common training images compared with fresh ones.

    Takes common images from the model's own data set, makes fresh ones by the same recipe, learns one
    token for each into OUT/score, and tests whether their distances are equivalent: whether the 90 %
    interval of the difference lies within the margin. Writes report.html, report.json and
    report.csv to --out.

    \b
    Examples:
      origcli popularity data/shapes --out runs/popularity
      origcli popularity data/shapes/dataset.json --model runs/unet/pipeline --resume
    """
    with run.starting():
        from origcli.runtime.cache import SCORES, find_cache
        from origcli.studies.popularity import run_popularity
        from origcli.studies.queries import shapes_alone

    settings = shapes_alone(run.settings)
    target = run.out or Path("runs") / "popularity"
    with run.open(settings, target) as runtime:
        report = run_popularity(
            data, settings, runtime, find_cache(SCORES, run.progress.say) if cache else None
        )
    present.report(report, run.form, COLUMNS)
    present.failures(report.errors, run.form, run.progress.say)
    if report.summary is not None and run.form is options.Format.table:
        difference = report.summary.difference
        if difference.value is not None:
            present.paragraph(f"fresh minus training: {difference.value:+.3f}. {report.summary.words}")
    run.progress.say(f"report: {target / 'report.html'}; every image: {target / 'score' / 'report.html'}")
    return int(ExitCode.INPUT if report.errors else ExitCode.OK)
