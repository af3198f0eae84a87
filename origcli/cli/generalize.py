"""`origcli generalize`: the controlled experiments on held-out elements."""

from pathlib import Path
from typing import Annotated

from origcli.cli import options, present
from origcli.cli.binding import Sets, flag, option
from origcli.cli.renamed import Formerly
from origcli.cli.run import ALL, Run, command
from origcli.errors import ExitCode, UsageError
from origcli.presets import for_many_models

PLAN_COLUMNS = ("experiment", "level", "held_out", "sizes", "colors", "textures", "shapes", "hash")
SHOWN_PLAN = ("experiment", "level", "held_out", "hash")  # what fits a terminal, as the hash's beginning does
_HASH = 12
COLUMNS = (
    *("experiment", "level", "condition", "images", "detections", "held_out_detections"),
    *("frequency", "frequency_low", "frequency_high", "lift", "confidence", "error"),
)
DROP = ("images", "detections", "confidence", "lift", "held_out_detections", "level")
STUDY = "The study"


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of a list such as `4,30,60`.

    Raises:
        UsageError: a word is no number.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise UsageError(f"--levels {text!r} is not a list of numbers", "e.g. --levels 4,30,60")
    return tuple(int(word) for word in words)


@command(ALL - {"dry_run"}, layered=for_many_models)
def generalize(
    levels: Annotated[
        str | None,
        option("--levels", "LIST", "Diversities: numbers of elements, 4 to 60.", STUDY),
        Sets("generalize.levels", _numbers),
    ] = None,
    repeats: Annotated[
        int | None,
        option("--repeats", "R", "Symmetric experiments per level, up to 16.", STUDY),
        Sets("generalize.repeats"),
    ] = None,
    samples: Annotated[
        int | None,
        option("--samples", "N", "Number of samples for each prompt of a model.", STUDY),
        Formerly("--images"),
        Sets("generalize.samples"),
    ] = None,
    count: Annotated[
        int | None,
        option(
            "--count",
            "N",
            "Number of training images of each model; with the preset small, of one of 30 elements, and of "
            "others in proportion.",
            STUDY,
        ),
        Sets("synth.count"),
    ] = None,
    max_elements: Annotated[
        int | None,
        option("--max-elements", "N", "Maximum number of elements in an image.", STUDY),
        Sets("generalize.max_elements"),
    ] = None,
    only: Annotated[
        list[str] | None,
        option(
            "--only",
            "NAME",
            "Run this experiment, or those that match a pattern such as '04-*'. Repeatable.",
            STUDY,
        ),
    ] = None,
    plan: Annotated[
        bool,
        flag(
            "--plan",
            "Print the experiments, named and hashed, and with --out write plan.json; train nothing. "
            "Start them with --resume.",
            STUDY,
        ),
    ] = False,
    detector: Annotated[
        str | None,
        option(
            "--detector",
            "DIR",
            "Detector that counts the elements: shapes (bundled), or a trained one.",
            STUDY,
            words=("shapes",),
        ),
        Sets("generalize.detector"),
    ] = None,
    text_encoder: Annotated[
        str | None,
        option(
            "--text-encoder",
            "SOURCE",
            "captions (one small BERT for all experiments), or a BERT by hub id or directory. ",
            STUDY,
            words=("captions",),
        ),
        Sets("text_encoder.source"),
    ] = None,
    guidance: options.GuidanceOption = None,
    steps: options.DenoisingStepsOption = None,
    keep_data: Annotated[
        bool | None,
        flag("--keep-data", "Keep the training images and checkpoints of finished models.", options.RUN),
        Sets("generalize.keep_data"),
    ] = None,
    ray: Annotated[
        str | None,
        options.cluster("Run the experiments on a Ray cluster that can access --out", options.COMPUTE),
    ] = None,
    *,
    run: Run,
) -> int:
    """Does a model generate what it never saw? Train models without one element each, and count it.

    For each experiment: a data set without the held-out element, a VAE and a UNet trained on it, samples
    from the empty prompt and from the element's, and how often a detector finds the element in them.
    Writes report.html (open this), report.json, report.csv and figures to --out. What is done is not
    done again: continue with --resume, also with more --levels, --repeats or --samples.

    \b
    Examples:
      origcli generalize --plan
      origcli generalize --out runs/generalize
      origcli generalize --out runs/generalize --resume
      origcli generalize --out runs/generalize --only '04-*'
      origcli generalize --preset paper --ray auto --out /shared/generalize
    """
    settings = run.settings
    from origcli.runtime.run_directory import RunDirectory
    from origcli.studies.generalization.diversity import choose
    from origcli.studies.generalization.plan import plan_rows, planned, write_plan

    chosen = choose(planned(settings), only or ())
    if plan:
        if run.out is not None:
            with RunDirectory(run.out, "use"):
                write_plan(run.out, settings)
        rows, title = plan_rows(chosen, settings), f"{len(chosen)} experiments"
        if run.form is options.Format.table:
            short = [{**row, "hash": row["hash"][:_HASH]} for row in rows]
            present.rows(short, SHOWN_PLAN, run.form, title=title, drop=("hash", "level"))
        else:
            present.rows(rows, PLAN_COLUMNS, run.form)
        return int(ExitCode.OK)
    with run.starting():
        from origcli.studies.generalization.run import run_generalization

    target = run.out or Path("runs") / "generalize"
    with run.open(settings, target) as runtime:
        report = run_generalization(settings, runtime, only or (), ray)
    present.report(report, run.form, COLUMNS, drop=DROP)
    present.failures(report.errors, run.form, run.progress.say)
    run.progress.say(f"report: {target / 'report.html'}")
    return int(ExitCode.INPUT if report.errors else ExitCode.OK)
