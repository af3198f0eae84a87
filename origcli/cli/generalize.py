"""`origcli generalize`: the controlled experiments on held-out elements."""

from pathlib import Path
from typing import Annotated, Any

import typer

from origcli.cli import options, present
from origcli.errors import ExitCode, UsageError

PLAN_COLUMNS = ("experiment", "level", "held_out", "sizes", "colors", "textures", "shapes", "hash")
SHOWN_PLAN = ("experiment", "level", "held_out", "hash")  # what fits a terminal, as the hash's beginning does
_HASH = 12
COLUMNS = (
    *("experiment", "level", "condition", "images", "detections", "held_out_detections"),
    *("frequency", "frequency_low", "frequency_high", "lift", "confidence", "error"),
)
STUDY = "The study"


def generalize(
    out: options.OutOption = None,
    levels: Annotated[
        str | None,
        typer.Option(
            "--levels",
            metavar="LIST",
            help="Diversities: numbers of elements, 4 to 60. [default: small 4,30,60, paper 4,8,12,20,30,60]",
            rich_help_panel=STUDY,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats",
            metavar="R",
            help="Symmetric experiments a level, up to 16. [default: small 3, paper 4]",
            rich_help_panel=STUDY,
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            metavar="N",
            help="Drawings for each prompt of a model. [default: 1024]",
            rich_help_panel=STUDY,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            metavar="N",
            help="Pictures that each model trains on. [default: small 20000, paper 100000]",
            rich_help_panel=STUDY,
        ),
    ] = None,
    max_elements: Annotated[
        int | None,
        typer.Option(
            "--max-elements",
            metavar="N",
            help="Most elements of a picture. [default: small 2, paper 4]",
            rich_help_panel=STUDY,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="NAME",
            help="Do this experiment, or those of a pattern such as '04-*'. Repeatable.",
            rich_help_panel=STUDY,
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Print the experiments, named and hashed, and with --out write plan.json; train nothing. "
            "Begin them with --resume.",
            rich_help_panel=STUDY,
        ),
    ] = False,
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector",
            metavar="DIR",
            autocompletion=lambda: ["shapes"],
            help="What counts the elements: shapes (bundled), or a trained one. [default: shapes]",
            rich_help_panel=STUDY,
        ),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            "--text-encoder",
            metavar="SOURCE",
            autocompletion=lambda: ["captions"],
            help="captions (one small BERT for all experiments), or a BERT by hub id or directory. "
            "[default: small captions, paper google-bert/bert-base-uncased]",
            rich_help_panel=STUDY,
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance",
            metavar="W",
            help="Classifier-free guidance scale; 1: none. [default: small 2, paper the model's]",
            rich_help_panel=options.DRAWING,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            help="Denoising steps of a drawing. [default: small 25, paper 50]",
            rich_help_panel=options.DRAWING,
        ),
    ] = None,
    keep_data: Annotated[
        bool | None,
        typer.Option(
            "--keep-data",
            help="Keep the training pictures and checkpoints of finished models.",
            rich_help_panel=options.RUN,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            autocompletion=lambda: ["auto"],
            help="Do the experiments on a Ray cluster that sees --out; auto: this machine's (origcli[ray]).",
            rich_help_panel=options.COMPUTE,
        ),
    ] = None,
    resume: options.ResumeOption = False,
    force: options.ForceOption = False,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    dtype: options.DtypeOption = None,
    threads: options.ThreadsOption = None,
    compile: options.CompileOption = None,
    offline: options.OfflineOption = None,
    form: options.FormatOption = options.Format.table,
    quiet: options.QuietOption = False,
) -> int:
    """Does a model draw what it never saw? Train models without one element each, and count it.

    For each experiment: a data set without the held-out element, a VAE and a UNet trained on it, drawings
    from the empty prompt and from the element's, and how often a detector finds the element in them.
    Writes report.html (look at this), report.json, report.csv and figures to --out. What is done is not
    done again: go on with --resume, also with more --levels, --repeats or --images.

    \b
    Examples:
      origcli generalize --plan
      origcli generalize --out runs/generalize
      origcli generalize --out runs/generalize --resume
      origcli generalize --out runs/generalize --only '04-*'
      origcli generalize --preset paper --ray auto --out /shared/generalize
    """
    flags: dict[str, dict[str, Any]] = {
        "generalize": {
            "levels": _numbers(levels),
            "repeats": repeats,
            "images": images,
            "max_elements": max_elements,
            "detector": detector,
            "keep_data": keep_data,
        },
        "synth": {"count": count},
        "text_encoder": {"source": text_encoder},
        "draw": {"steps": steps, "guidance": guidance},
        "runtime": {
            "seed": seed,
            "device": device,
            "dtype": dtype,
            "threads": threads,
            "compile": compile,
            "offline": offline,
        },
    }
    settings = options.load_settings(options.for_many_models(preset), config, flags)
    from origcli.studies.generalization.diversity import choose
    from origcli.studies.generalization.plan import plan_rows, planned, write_plan

    chosen = choose(planned(settings), only or ())
    if plan:
        if out is not None:
            write_plan(out, settings)
        rows, title = plan_rows(chosen, settings), f"{len(chosen)} experiments"
        if form is options.Format.table:
            short = [{**row, "hash": row["hash"][:_HASH]} for row in rows]
            present.rows(short, SHOWN_PLAN, form, title=title)
        else:
            present.rows(rows, PLAN_COLUMNS, form)
        return int(ExitCode.OK)
    from origcli.runtime.context import open_runtime
    from origcli.studies.generalization.run import run

    target = out or Path("runs") / "generalize"
    progress = present.progress(quiet)
    with open_runtime(settings.runtime, target, progress, options.existing(resume, force)) as runtime:
        report = run(settings, runtime, only or (), ray)
    present.report(report, form, COLUMNS)
    progress.say(f"report: {target / 'report.html'}")
    return int(ExitCode.INPUT if report.errors else ExitCode.OK)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    """The numbers of a list such as `4,30,60`.

    Raises:
        UsageError: a word is no number.
    """
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise UsageError(f"--levels {text!r} is not a list of numbers", "e.g. --levels 4,30,60")
    return tuple(int(word) for word in words)
