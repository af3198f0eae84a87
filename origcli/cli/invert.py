"""`origcli invert`: the tokens that make a model redraw images."""

import re
from typing import TYPE_CHECKING, Annotated, Any

from origcli.cli import options, present
from origcli.cli.binding import Sets, flag, option
from origcli.cli.run import Run, command
from origcli.errors import ExitCode, UsageError, exit_code

if TYPE_CHECKING:
    from origcli.reports.envelope import LeftOut
    from origcli.reports.schema import InvertResult

SHOWN = ("path", "m", "placeholder", "steps", "stop_reason", "l_det", "l_det_0")
_MOST = 99
_COUNT = re.compile("[1-9][0-9]?")  # up to _MOST
PLAN = ("images", "tokens", "steps", "batch_size", "unet_samples", "tflop", "minutes", "device")
DROP_OF_PLAN = ("device", "unet_samples", "batch_size")


@command()
def invert(
    images: options.ImagesArgument,
    tokens: Annotated[
        str | None,
        option("-t --tokens", "COUNTS", "Numbers of tokens, such as 1-5, 3 or 1,2,4. [default: 1-5]"),
    ] = None,
    model: options.ModelOption = None,
    templates: Annotated[
        str | None,
        option(
            "--templates",
            "LIST",
            "Prompts to learn with: object (also auto), art, photo (the sampling prompt), or a file with "
            "{S} in each line.",
            options.LEARNING,
            words=("auto", "object", "art", "photo"),
        ),
        Sets("invert.templates"),
    ] = None,
    init: Annotated[
        str | None,
        option(
            "--init",
            "START",
            "Start from mean (of the vocabulary), words, or an embeddings file.",
            options.LEARNING,
            words=("mean",),
        ),
        Sets("invert.initialization"),
    ] = None,
    steps: options.LearningStepsOption = None,
    batch_size: Annotated[
        int | None,
        option(
            "--batch-size", "N", "Samples per step, for each image and number of tokens.", options.LEARNING
        ),
        Sets("invert.batch_size"),
    ] = None,
    learning_rate: Annotated[
        str | None,
        option(
            "--learning-rate",
            "RATE",
            "Learning rate of Adam; auto: two thirds of the root mean square of the model's word vectors. ",
            options.LEARNING,
            words=("auto",),
        ),
        Sets("invert.learning_rate"),
    ] = None,
    early_stop: Annotated[
        bool | None,
        flag(
            "--early-stop/--no-early-stop",
            "Stop when the loss on a fixed batch no longer changes.",
            options.LEARNING,
        ),
        Sets("invert.early_stop"),
    ] = None,
    flip: Annotated[
        bool | None,
        flag(
            "--flip/--no-flip", "Learn from the mirror image, too; changes what is learned.", options.LEARNING
        ),
        Sets("invert.flip"),
    ] = None,
    preview_every: Annotated[
        int | None,
        option(
            "--preview-every",
            "N",
            "Write samples of the current tokens to previews/ every N steps; 0: never.",
            options.OUTPUT,
        ),
        Sets("invert.preview_every"),
    ] = None,
    crop: options.CropOption = None,
    together: Annotated[
        int | None,
        option("--together", "N", "Images whose tokens are learned in one batch.", options.COMPUTE),
        Sets("score.together", unset="1"),
    ] = None,
    micro_batch: Annotated[
        int | None,
        option("--micro-batch", "N", "Samples through the UNet at once.", options.COMPUTE),
        Sets("invert.micro_batch", unset="what memory holds"),
    ] = None,
    image_column: options.ImageColumnOption = None,
    follow_links: options.FollowLinksOption = False,
    *,
    run: Run,
) -> int:
    """Learn the tokens that make a model redraw images: multi-token textual inversion.

    Writes an embeddings file for each image and number of tokens, which diffusers, A1111 and ComfyUI
    load, the loss at each step, and a report.

    \b
    Examples:
      origcli invert photo.jpg --tokens 1-5
      origcli invert photo.jpg --tokens 3 --model sd15 --preset paper --preview-every 200
      origcli invert paintings/ --templates art --init painting --out runs/paintings
      origcli invert paintings/ --out runs/paintings --resume
      origcli invert photo.jpg --tokens 1-5 --dry-run
    """
    from origcli.images.inputs import find_inputs

    settings = run.settings
    left_out: list[LeftOut] = []
    inputs = find_inputs(
        images,
        image_column=image_column,
        follow_links=follow_links,
        offline=settings.runtime.offline,
        say=run.progress.say,
        left_out=left_out,
    )
    counts = parse_counts(tokens or f"1-{settings.score.max_tokens}")

    with run.starting():
        from origcli.inversion import sweep
    from origcli.reports.schema import Failure
    from origcli.runtime.atomic import read_json

    if run.dry_run:
        from origcli.scoring.dry_run import plan_invert

        with run.open(settings, None) as runtime:
            present.rows(
                [plan_invert(len(inputs), counts, settings, runtime)], PLAN, run.form, drop=DROP_OF_PLAN
            )
        return int(ExitCode.OK)
    place = run.place("invert", [image.name for image in inputs], tokens=counts)
    table: list[dict[str, Any]] = []

    def see(outcome: "InvertResult | Failure") -> None:
        if isinstance(outcome, Failure):
            table.append(outcome.row())
        else:
            table.extend(outcome.rows())

    with run.open(settings, place) as runtime:
        target = runtime.given
        report = sweep.run(inputs, counts, settings, runtime, see, left_out)
    shown = SHOWN if run.form is options.Format.table else report.columns
    whole = read_json(target / "report.json") if run.form is options.Format.json else None
    present.rows(table, shown, run.form, whole=whole, drop=("stop_reason", "placeholder"))
    present.failures(report.errors, run.form, run.progress.say)
    run.progress.say(f"report: {target / 'report.json'}")
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
