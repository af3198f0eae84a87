"""`origcli invert`: the tokens that make a model redraw pictures."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from origcli.cli import options, present
from origcli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from origcli.reports.schema import InvertResult

LEARNING = "Learning"
SHOWN = ("path", "m", "placeholder", "steps", "stop_reason", "l_det", "l_det_0")
_MOST = 99
_COUNT = re.compile("[1-9][0-9]?")  # up to _MOST
PLAN = ("pictures", "tokens", "steps", "batch_size", "unet_samples", "tflop", "minutes", "device")


def invert(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE…",
            help="Pictures, directories, quoted globs, CSV lists, or - for stdin.",
            show_default=False,
        ),
    ],
    tokens: Annotated[
        str | None,
        typer.Option("--tokens", "-t", metavar="COUNTS", help="Such as 1-5, 3 or 1,2,4. [default: 1-5]"),
    ] = None,
    model: options.ModelOption = None,
    templates: Annotated[
        str | None,
        typer.Option(
            "--templates",
            metavar="LIST",
            autocompletion=lambda: ["auto", "object", "art", "photo"],
            help="Prompts to learn in: object (auto means that, too), art, photo (the one that is drawn "
            "from), or a file with a {S} in each line. [default: fast photo, paper auto]",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="START",
            autocompletion=lambda: ["mean"],
            help="Start from mean (of the vocabulary), words, or an embeddings file. [default: mean]",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--invert-steps",
            metavar="N",
            help="Most steps of learning. [default: fast 250, paper 2000]",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            help="Samples a step, for each image and number of tokens. [default: fast 6, paper 20]",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    learning_rate: Annotated[
        str | None,
        typer.Option(
            "--learning-rate",
            metavar="RATE",
            autocompletion=lambda: ["auto"],
            help="Of Adam; auto: two thirds of the root mean square of the model's word vectors. "
            "[default: fast auto, paper 5e-4]",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    early_stop: Annotated[
        bool | None,
        typer.Option(
            "--early-stop/--no-early-stop",
            help="Stop where the loss on a fixed batch has settled. [default: fast yes, paper no]",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Learn the mirror image too. It changes what is learned. [default: no]",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    preview_every: Annotated[
        int | None,
        typer.Option(
            "--preview-every",
            metavar="N",
            help="Draw from the current tokens every N steps, into previews/. [default: never]",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    crop: options.CropOption = None,
    together: Annotated[
        int | None,
        typer.Option(
            "--together",
            metavar="N",
            help="Images whose tokens are learned in one batch. [default: 1]",
            rich_help_panel=options.COMPUTE,
        ),
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(
            "--micro-batch",
            metavar="N",
            help="Samples through the UNet at once. [default: what memory holds]",
            rich_help_panel=options.COMPUTE,
        ),
    ] = None,
    follow_links: options.FollowLinksOption = False,
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    force: options.ForceOption = False,
    dry_run: options.DryRunOption = False,
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
    """Learn the tokens that make a model redraw pictures: multi-token textual inversion.

    Writes an embeddings file for each image and number of tokens, which diffusers, A1111 and ComfyUI
    load, with the course of the loss and a report.

    \b
    Examples:
      origcli invert photo.jpg --tokens 1-5
      origcli invert photo.jpg --tokens 3 --model sd15 --preset paper --preview-every 200
      origcli invert paintings/ --templates art --init painting --out runs/paintings
      origcli invert paintings/ --out runs/paintings --resume
      origcli invert photo.jpg --tokens 1-5 --dry-run
    """
    from origcli.images.inputs import find_inputs

    progress = present.progress(quiet)
    inputs = find_inputs(images, follow_links=follow_links, say=progress.say)
    flags: dict[str, dict[str, Any]] = {
        "score": {"model": model, "crop": crop, "together": together},
        "invert": {
            "templates": templates,
            "initialization": init,
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "early_stop": early_stop,
            "flip": flip,
            "preview_every": preview_every,
            "micro_batch": micro_batch,
        },
        "runtime": {
            "seed": seed,
            "device": device,
            "dtype": dtype,
            "threads": threads,
            "compile": compile,
            "offline": offline,
        },
    }
    settings = options.load_settings(preset, config, flags)
    counts = parse_counts(tokens or f"1-{settings.score.max_tokens}")

    from origcli.inversion import sweep
    from origcli.reports.schema import Failure
    from origcli.runtime.context import open_runtime
    from origcli.runtime.run_directory import read_json

    if dry_run:
        with open_runtime(settings.runtime, None, progress) as runtime:
            present.rows([sweep.plan(len(inputs), counts, settings, runtime)], PLAN, form)
        return int(ExitCode.OK)
    target = options.run_path("invert", out, [one.name for one in inputs], resume or force)
    table: list[dict[str, Any]] = []

    def see(outcome: "InvertResult | Failure") -> None:
        if isinstance(outcome, Failure):
            table.append(outcome.row())
        else:
            table.extend(outcome.rows())

    with open_runtime(settings.runtime, target, progress, options.existing(resume, force)) as runtime:
        report = sweep.run(inputs, counts, settings, runtime, see)
    shown = SHOWN if form is options.Format.table else report.columns
    whole = read_json(target / "report.json") if form is options.Format.json else None
    present.rows(table, shown, form, whole=whole)
    for failure in report.errors:
        progress.say(f"{failure.message}{f' ({failure.hint})' if failure.hint else ''}")
    progress.say(f"report: {target / 'report.json'}")
    return exit_code({failure.code for failure in report.errors})


def parse_counts(text: str) -> list[int]:
    """Token counts of `1-5`, `3` or `1,2,4-6`, in order, each once.

    Raises:
        UsageError: it is none of these, or a count is below 1 or above 99.
    """
    counts: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(_COUNT.fullmatch(end.strip()) for end in ends):
            raise UsageError(f"--tokens {text!r}: not counts of 1 to {_MOST}", "write 1-5, 3 or 1,2,4")
        counts.update(range(int(ends[0]), int(ends[1]) + 1))
    if not counts:
        raise UsageError(f"--tokens {text!r}: the range is empty", "write the smaller count first")
    return sorted(counts)


def exit_code(codes: set[str]) -> int:
    """Of a run in which some pictures failed: a breakdown outweighs a file that cannot be read."""
    if "non-finite" in codes:
        return int(ExitCode.NON_FINITE)
    return int(ExitCode.INPUT if codes else ExitCode.OK)
